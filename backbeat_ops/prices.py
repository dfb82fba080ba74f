"""What AWS charges, in dollars: us-east-1, Arm, first tier, without free tiers; looked up on 2026-11-25.

Sources: the pricing pages of Lambda, DynamoDB (on demand, standard), SQS, SES, S3 (standard), CloudWatch, EventBridge,
Secrets Manager and Step Functions at aws.amazon.com, and figures of AWS's Price List that others published in 2026. SQS
counts each 64 kB as a request. Data leaving AWS, CloudFront and support are not in here.
"""

MILLION = 1e6

LAMBDA_REQUEST = 0.20 / MILLION
LAMBDA_GB_SECOND = 0.0000133334
DYNAMODB_READ_UNIT = 0.125 / MILLION
DYNAMODB_WRITE_UNIT = 0.625 / MILLION
DYNAMODB_GB_MONTH = 0.25
DYNAMODB_RECOVERY_GB_MONTH = 0.20
"""Point-in-time recovery, which the template switches on."""
SQS_REQUEST = 0.40 / MILLION
SQS_FAIR_REQUEST = 0.10 / MILLION
"""On top, for a request with messages of a group."""
SES_MAIL = 0.10 / 1_000
S3_PUT = 0.005 / 1_000
S3_GET = 0.0004 / 1_000
S3_GB_MONTH = 0.023
LOGS_GB = 0.50
LOGS_GB_MONTH = 0.03
ALARM_MONTH = 0.10
METRIC_MONTH = 0.30
SECRET_MONTH = 0.40
STATE_TRANSITION = 25 / MILLION
DURABLE_OPERATION = 8 / MILLION
