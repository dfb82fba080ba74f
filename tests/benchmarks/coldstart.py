"""Time a cold start, paired with another build's: `coldstart.py OTHER_BUILD [ROUNDS]`, after `sam build`.

Processor time of an interpreter that has nothing but a built function and its layers, to the handler imported, and for
the mail to the end of its first message, against a stand-in for AWS that answers at once.
"""

import http.server
import json
import resource
import statistics
import subprocess
import sys
import threading
from pathlib import Path

from standin import StandIn

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / ".aws-sam/build"
HANDLERS = {
    "send_welcome_email": ("SendWelcomeEmailFunction", ["SharedLayer"]),
    "process_media_upload": ("ProcessMediaUploadFunction", ["SharedLayer", "ImagingLayer"]),
    "update_user_statistics": ("UpdateUserStatisticsFunction", ["SharedLayer"]),
}
MESSAGE = {"task": "send_welcome_email", "id": "one", "kwargs": {"user_id": "one"}, "sent_at": "2026-11-01T09:00:00Z"}
RECORD = {
    "messageId": "one",
    "receiptHandle": "one",
    "body": json.dumps(MESSAGE),
    "attributes": {"SentTimestamp": "1793523600000", "ApproximateReceiveCount": "1"},
    "messageAttributes": {},
    "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:backbeat-emails-send_welcome_email",
}
FIRST = f"""
class Context:
    aws_request_id = function_name = invoked_function_arn = "one"
    memory_limit_in_mb = 512
    def get_remaining_time_in_millis(self): return 30_000
answer = send_welcome_email.lambda_handler({{"Records": [{RECORD!r}]}}, Context())
assert answer == {{"batchItemFailures": []}}, answer
"""


def measured(build: Path, handler: str, more: str, port: int) -> float:
    """Processor seconds of one cold start."""
    function, layers = HANDLERS[handler]
    paths = [str(build / function), *(str(build / layer / "python") for layer in layers)]
    program = f"import sys; sys.path[:0] = {paths!r}; import {handler}{more}"
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "BASE_URL": "https://example.com",
        "CONFIGURATION_SET": "x",
        "SENDER": "hello@example.com",
        "SENDER_NAME": "Backbeat",
        "UNSUBSCRIBE_KEY": "x",
        "UNSUBSCRIBE_URL": "https://example.com/",
        **{f"{table}_TABLE": table for table in ("USERS", "DELIVERIES", "RUNS")},
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-I", "-S", "-B", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{build}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(other: Path, rounds: int) -> None:
    """Print the medians, and the median of the ratios pair by pair."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{'CPU s':40}{'this':>8}{'other':>8}{'ratio':>8}\n")
        for name, handler, more in (
            *((f"{handler}, imported", handler, "") for handler in HANDLERS),
            ("send_welcome_email, first message", "send_welcome_email", FIRST),
        ):
            sent = StandIn.mails
            pairs = [
                [measured(build, handler, more, server.server_port) for build in (HERE, other)] for _ in range(rounds)
            ]
            if more and StandIn.mails - sent != 2 * rounds:
                raise SystemExit(f"{StandIn.mails - sent} mails went, not {2 * rounds}")
            this, others = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            sys.stdout.write(f"{name:40}{this:8.3f}{others:8.3f}{ratio:8.2f}\n")
            sys.stdout.flush()
        server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
