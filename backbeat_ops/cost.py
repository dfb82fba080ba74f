"""What a network on paper costs a month on AWS, task by task, and which line dominates."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from backbeat import ledger
from backbeat_ops import checkout, prices
from backbeat_ops.network import DAYS_A_MONTH, WORK, Network, loads

POLLERS = 5
"""Long polls that Lambda keeps open at an idle queue with a maximum concurrency ("Configuring scaling behavior for SQS
event source mappings", Lambda developer guide)."""
LONG_POLL = 20
"""Seconds of one."""
LOGGED = 1.3e-6
"""GB of log of one message: Lambda's three lines, the run's, and its metrics."""
METRICS_A_TASK = 4
"""Outcomes that occur, and the duration."""
MAILED_WITHIN = 0.8 * 6 * 86_400
"""Seconds of the week's six whole days, at 80 % of SES's rate: who has more digests than 14 a second take asks SES for
as much as they need."""
MONTH = DAYS_A_MONTH * 86_400
ROWS_KEPT = {
    "users": 1.2e-6,
    "follows": 0.3e-6,
    "posts": 1.5e-6,
    "comments": 0.6e-6,
    "likes": 0.3e-6,
    "activity": 0.2e-6,
    "deliveries": 0.8e-6,
    "notifications": 0.5e-6,
    "runs": 0.6e-6,
}
"""GB of a row with its entries in indexes, each 100 bytes more than what it holds ("Item sizes", DynamoDB)."""
RENDITIONS = 8
GB_OF_RENDITIONS = 0.0008
GB_OF_AN_UPLOAD = 0.003
DAYS_OF_AN_UPLOAD = 7

LINES = ("Lambda", "DynamoDB", "SQS", "SES", "S3", "logs")
EVERYTHING = "everything"
"""What is no task's: storage, idle polling, alarms, metrics, the secret."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one task, or all of them together, costs a month.

    Attributes:
        task: The task, or `everything` for what is of none.
        task_class: Its class.
        lines: Dollars by what they are paid for.
        measured: Whether its seconds are the stack's own.
    """

    task: str
    task_class: str
    lines: Mapping[str, float]
    measured: bool = False

    @property
    def total(self) -> float:
        """Dollars a month."""
        return sum(self.lines.values())


def cost(network: Network, months: int = 12, seconds: Mapping[str, float] | None = None) -> list[Cost]:
    """What each task costs a month, and what is of none.

    Args:
        network: The network.
        months: For how many months it has been kept what is kept.
        seconds: What a message takes by the stack's own ledger, by task; else what the model says.
    """
    rows = {row["Name"]: row for row in checkout.template()["Mappings"]["Tasks"].values()}
    found = []
    for load in loads(network):
        memory = float(rows[load.task]["Memory"]) / 1024
        worked = {what: number * WORK[what].seconds for what, number in load.rows.items()}
        measured = bool(seconds and load.task in seconds and not load.partitions and load.runs > DAYS_A_MONTH * 24)
        if measured and seconds:
            worked = {load.task: seconds[load.task]}
        mail = "send_content_digest_email"
        if load.task == mail:  # its senders wait for their turn
            rate = max(14, network.mails_a_week / MAILED_WITHIN)
            worked[mail] = max(worked[mail], load.rows[mail] * float(rows[mail]["standard"]) / (0.8 * rate))
        parts = max(load.partitions, sum(worked.values()) / 240)
        messages = load.runs * (1 + parts if load.partitions else 1)
        lines: dict[str, float] = defaultdict(float)
        lines["Lambda"] = load.runs * sum(worked.values()) * memory * prices.LAMBDA_GB_SECOND
        lines["Lambda"] += messages / load.batch * prices.LAMBDA_REQUEST
        reads = sum(number * WORK[what].reads for what, number in load.rows.items())
        writes = sum(number * WORK[what].writes for what, number in load.rows.items()) + 3  # the ledger's
        if load.partitions:
            reads, writes = reads + 2 * parts, writes + 6 * parts
        lines["DynamoDB"] = load.runs * (reads * prices.DYNAMODB_READ_UNIT + writes * prices.DYNAMODB_WRITE_UNIT)
        lines["SQS"] = messages * (1 + 2 / load.batch) * prices.SQS_REQUEST
        lines["logs"] = messages * LOGGED * (prices.LOGS_GB + prices.LOGS_GB_MONTH)
        if load.task == "send_welcome_email":
            lines["SES"] = load.runs * prices.SES_MAIL
        if load.task == "send_content_digest_email":
            lines["SES"] = load.runs * network.mails_a_week * prices.SES_MAIL
        if load.task == "process_media_upload":
            lines["S3"] = load.runs * (RENDITIONS * prices.S3_PUT + 2 * prices.S3_GET)
        found.append(Cost(load.task, str(rows[load.task]["Class"]), dict(lines), measured))
    return [*found, Cost(EVERYTHING, "", _of_none(network, months, len(rows)))]


def _of_none(network: Network, months: int, tasks: int) -> dict[str, float]:
    """What is paid for whatever the tasks do, and what is kept."""
    kept = _rows(network, months)
    gigabytes = sum(ROWS_KEPT[table] * number for table, number in kept.items())
    uploads = network.uploads_a_day * DAYS_A_MONTH * months
    renditions = uploads * GB_OF_RENDITIONS + network.uploads_a_day * DAYS_OF_AN_UPLOAD * GB_OF_AN_UPLOAD
    alarms = 2 * tasks
    return {
        "tables kept": gigabytes * (prices.DYNAMODB_GB_MONTH + prices.DYNAMODB_RECOVERY_GB_MONTH),
        "media kept": renditions * prices.S3_GB_MONTH,
        "idle polling": tasks * POLLERS * MONTH / LONG_POLL * prices.SQS_REQUEST,
        "alarms": alarms * prices.ALARM_MONTH,
        "metrics": tasks * METRICS_A_TASK * prices.METRIC_MONTH,
        "secret": prices.SECRET_MONTH,
    }


def _rows(network: Network, months: int) -> dict[str, float]:
    days, there = DAYS_A_MONTH * months, network.there
    return {
        "users": network.users,
        "follows": there * network.follows * days,
        "posts": network.posts_a_day * min(days, 395),
        "comments": there * network.comments * days,
        "likes": there * network.likes * days,
        "activity": there * 40,
        "deliveries": network.mails_a_week * min(days / 7, 90 / 7),
        "notifications": there * network.notifications * min(days, 30),
        "runs": there * network.notifications * min(days, 30) + network.uploads_a_day * min(days, 30),
    }


def measured(now: datetime, days: int = 7) -> dict[str, float]:
    """How many seconds a message has taken each task of the stack on average, by its ledger."""
    seconds: dict[str, float] = defaultdict(float)
    messages: dict[str, float] = defaultdict(float)
    for ago in range(days):
        for row in ledger.totals((now - timedelta(days=ago)).date()):
            seconds[row.task] += row.duration_ms / 1_000
            messages[row.task] += row.succeeded + row.skipped + row.retrying + row.rejected + row.dead
    return {task: seconds[task] / count for task, count in messages.items() if count}


def dominant(costs: list[Cost]) -> tuple[str, str, float]:
    """The task and the line that cost most, and their share of the whole."""
    of = {(each.task, line): dollars for each in costs for line, dollars in each.lines.items()}
    task, line = max(of, key=lambda key: of[key])
    return task, line, of[task, line] / sum(of.values())
