"""What the sweeps cost at 1, 4 and 16 times the data, with the same changes: `make bench-sweeps` prints a table.

It starts an emulator of its own, with the template's tables, and runs the tasks in this process. Calls are counted as
they are made; units are what the emulator says that DynamoDB would charge (ReturnConsumedCapacity): one for each 4 KB
read, half of it where an older answer will do, and one for each 1 KB written, in the table and in each index.
Nothing is timed.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from botocore.client import BaseClient
from rich.console import Console
from rich.table import Table
from support import Context, function_environment, resolve, resources, run_whole

import cleanup_expired_tokens
import cleanup_old_posts
import generate_content_analytics
import update_post_engagement_scores
import update_trending_hashtags
import update_user_statistics
from backbeat import models, sweeps
from backbeat.messages import Message
from backbeat.models import Activity, Comment, Follow, Post, Report, SweepPart, Token, User, day_key
from backbeat.runtime import Run
from backbeat_ops import localcloud

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
DAY = timedelta(days=1)
SCALES = (1, 4, 16)
USERS, POSTS, TOKENS = 250, 1_000, 500
CHANGES = 20
"""Of each kind: wrong counts of touched users, liked posts, expired tokens, posts that come of age, posts to delete,
users active on each day, and new posts, all with a hashtag."""
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem")

Row = tuple[str, int, int, float, int, float, str]


class Meter:
    """The calls to DynamoDB's tables of data, and the units that they use."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.units: Counter[str] = Counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is called meanwhile."""
        real = BaseClient._make_api_call

        def counted(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
            if client.meta.service_model.service_name != "dynamodb" or "RunsTable" in str(parameters):
                return real(client, operation, parameters)  # the ledger costs the same for every run
            kind = "write" if operation in WRITES else "read"
            answer = real(client, operation, parameters | ({} if operation == "DescribeTable" else CAPACITY))
            used = answer.get("ConsumedCapacity", [])
            if operation == "BatchGetItem":  # the emulator leaves it out
                used = [{"CapacityUnits": read_units(parameters, answer)}]
            self.calls[kind] += 1
            self.units[kind] += sum(part["CapacityUnits"] for part in (used if isinstance(used, list) else [used]))
            return answer

        with patch.object(BaseClient, "_make_api_call", counted):
            yield


def read_units(asked: dict[str, Any], answer: dict[str, Any]) -> float:
    """What BatchGetItem uses: a unit a row, as none here is over 4 KB, or half of one where an older answer will do."""
    return sum(
        len(rows) * (1 if asked["RequestItems"][table].get("ConsistentRead") else 0.5)
        for table, rows in answer["Responses"].items()
    )


CAPACITY = {"ReturnConsumedCapacity": "TOTAL"}


def create() -> None:
    """Make the template's tables, queues and buckets, empty."""
    dynamodb, s3, sqs = boto3.client("dynamodb"), boto3.client("s3"), boto3.client("sqs")
    for name in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=name)
    for name, table in resources("AWS::DynamoDB::Table").items():
        known = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        dynamodb.create_table(TableName=name, **{k: resolve(v) for k, v in table["Properties"].items() if k in known})
    for queue in resources("AWS::SQS::Queue").values():
        sqs.create_queue(QueueName=resolve(queue["Properties"]["QueueName"]))
    for name in resources("AWS::S3::Bucket"):
        s3.create_bucket(Bucket=resolve({"Ref": name}))
    environment = function_environment("CleanupOldPostsFunction")
    os.environ.update(function_environment("GenerateContentAnalyticsFunction") | environment)
    for found in s3.list_objects_v2(Bucket=environment["ARCHIVE_BUCKET"]).get("Contents", []):
        s3.delete_object(Bucket=environment["ARCHIVE_BUCKET"], Key=found["Key"])
    models.bind({variable: environment[variable] for variable in models.TABLES})


def fill(scale: int) -> None:
    """The data that is there, `scale` times as much of it, and the changes of one day, always as many."""
    users = [f"user-{number}" for number in range(USERS * scale)]
    put(
        User,
        (
            User.new(name, name=name, email=f"{name}@example.com", created_at=NOW - 400 * DAY, **counts(number))
            for number, name in enumerate(users)
        ),
    )
    put(
        Follow,
        (
            Follow(name, users[(number + step) % len(users)], created_at=NOW - 300 * DAY)
            for number, name in enumerate(users)
            for step in range(1, 9)
        ),
    )
    put(Post, (old_post(number, users) for number in range(POSTS * scale)))
    put(
        Token,
        (
            Token.new(
                users[n % len(users)], f"t{n}", kind="access", created_at=NOW, expires_at=NOW + (n % 50 + 2) * DAY
            )
            for n in range(TOKENS * scale)
        ),
    )
    changed = NOW - timedelta(hours=5)
    for name in users[:CHANGES]:
        User(name).update([User.touched_at.set(changed), User.touched_day.set(day_key(changed, name))])
    for number in range(CHANGES):
        Post(f"post-{number}").update(
            [Post.likes_count.add(1), Post.touched_day.set(day_key(changed, f"post-{number}"))]
        )
    put(
        Post,
        (
            Post.new(f"new-{n}", author_id=users[n], text="#new", created_at=changed, likes_count=n + 1)
            for n in range(CHANGES)
        ),
    )
    days = [NOW - DAY * ago for ago in range(40)]
    put(Activity, (Activity(day_key(day, u), u, expires=day + 40 * DAY) for day in days for u in users[:CHANGES]))
    put(Post, (hidden_post(n) for n in range(CHANGES)))
    put(Comment, (Comment.new(f"gone-{n}", "c", author_id="x", text="", created_at=changed) for n in range(CHANGES)))
    put(Post, (Post.new(f"aged-{n}", author_id="x", text="", created_at=NOW - 365.1 * DAY) for n in range(CHANGES)))
    put(
        Token,
        (Token.new(users[n], f"old{n}", kind="access", created_at=changed, expires_at=changed) for n in range(CHANGES)),
    )
    for task in (
        "update_user_statistics",
        "update_post_engagement_scores",
        "cleanup_expired_tokens",
        "cleanup_old_posts",
    ):
        sweeps.advance(task, NOW - DAY)
    sweeps.advance("cleanup_expired_tokens", NOW - 31 * DAY, "away_since")


def counts(number: int) -> dict[str, Any]:
    """A user's counts: those of the users who are touched are wrong."""
    return {"followers_count": 8 if number >= CHANGES else 3, "following_count": 8, "posts_count": 4}


def old_post(number: int, users: list[str]) -> Post:
    """A post too old to fade and too young to go."""
    made = NOW - (20 + number % 300) * DAY
    return Post.new(f"post-{number}", author_id=users[number % len(users)], text="#hi", created_at=made, likes_count=1)


def hidden_post(number: int) -> Post:
    """A post whose grace ended today."""
    post_id, hidden_at = f"gone-{number}", NOW - 30.1 * DAY
    keys = {"hidden_at": hidden_at, "hidden_day": day_key(hidden_at, post_id), "hidden_from": "public"}
    return Post.new(post_id, author_id="x", text="", created_at=NOW - 396 * DAY, visibility="hidden", **keys)


def put(model: Any, rows: Iterable[Any]) -> None:
    """Write rows in batches."""
    with model.batch_write() as batch:
        for row in rows:
            batch.save(row)


def measure(implementation: Any, given: dict[str, Any], at: datetime) -> Iterator[Row]:
    """Make a whole run; its cost, of the parts that walk each index by itself where it has a slice of all users."""
    task, kwargs = implementation.task, implementation.task.parse(given)
    message = Message(task=task.name, id=f"{task.name}{'/take' if given else ''}", kwargs=given, sent_at=at)
    meters: dict[str, Meter] = {}

    def make(message: Message, meter: Meter) -> Any:
        with meter.running():
            return implementation(**kwargs, run=Run(task, message, Context()))

    planning = Meter()
    planned = make(message, planning)
    tallies: dict[str, Counter[str]] = {"what changed": Counter()}
    meters["what changed"] = Meter()
    for number in range(getattr(planned, "parts", 0)):
        spec = SweepPart.get(f"{message.task}#sweep#{message.id}", f"part#{number:04}").spec
        name = "a slice of all users" if spec.get("index") == "by_slice" else "what changed"
        made = make(message.for_part(number), meters.setdefault(name, Meter()))
        tallies.setdefault(name, Counter()).update({k: v for k, v in made.tally.items() if isinstance(v, int)})
    if task is generate_content_analytics.handle.task:
        tallies["what changed"].update(posts=Report.get("daily", f"{at.date() - DAY}").figures["posts_created"])
    if task is update_trending_hashtags.handle.task:
        tallies["what changed"].update(hours=planned.hours_counted, tags=planned.rows_written)
    for name, meter in meters.items():
        if name == "what changed":
            meter.calls.update(planning.calls)
            meter.units.update(planning.units)
        done = ", ".join(f"{count} {what}" for what, count in sorted(tallies[name].items()) if what != "bytes")
        label = f"{task.name}, {'taking' if given else name}"
        yield label, 0, meter.calls["read"], meter.units["read"], meter.calls["write"], meter.units["write"], done


def main() -> None:
    """Measure at each scale, and print the table."""
    table = Table(title=f"The same {CHANGES} changes of each kind, at 1, 4 and 16 times the data")
    for column in ("task", "data", "reads", "read units", "writes", "write units", "counted"):
        table.add_column(column, justify="left" if column in ("task", "counted") else "right")
    rows: list[Row] = []
    localcloud.HOME = Path(tempfile.mkdtemp(prefix="backbeat-bench-"))
    localcloud.start(localcloud.free_port())
    localcloud.use(localcloud.endpoint())
    try:
        for scale in SCALES:
            create()
            fill(scale)
            for implementation in (generate_content_analytics.handle, update_trending_hashtags.handle):
                run_whole(implementation, "before", NOW - timedelta(hours=5), **implementation.task.parse({}))
            for implementation, given, at in RUNS:
                rows += [(row[0], scale, *row[2:]) for row in measure(implementation, given, at)]
            Console(stderr=True).print(
                f"{scale}x: {USERS * scale} users, {POSTS * scale} posts, {TOKENS * scale} tokens"
            )
    finally:
        localcloud.stop()
        shutil.rmtree(localcloud.HOME)
    for task, scale, *numbers, done in sorted(rows, key=lambda row: (row[0], row[1])):
        table.add_row(task, f"{scale}x", *(f"{number:g}" for number in numbers), done)
    Console(width=150).print(table)


RUNS: tuple[tuple[Any, dict[str, Any], datetime], ...] = (
    (cleanup_expired_tokens.handle, {}, NOW),
    (update_user_statistics.handle, {}, NOW),
    (update_trending_hashtags.handle, {}, NOW),
    (update_post_engagement_scores.handle, {}, NOW),
    (cleanup_old_posts.handle, {}, NOW),
    (cleanup_old_posts.handle, {"survey": "cleanup_old_posts"}, NOW),
    (generate_content_analytics.handle, {}, NOW + DAY),
)

if __name__ == "__main__":
    main()
