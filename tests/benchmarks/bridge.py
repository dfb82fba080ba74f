"""What the bridge to Django costs, on this machine and the running local cloud: `make bench-django`.

- An entry of the outbox: how much longer a write takes with it, while AWS takes connections and never answers.
- `backbeat_import`: how fast it is beside raw batch writes of the same items, both on four threads, into tables that
  this program makes and deletes again.
"""

import os
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "examples/django"), str(ROOT / "tests")]
os.environ["EXAMPLE_DATA"] = tempfile.mkdtemp()
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"

import boto3  # noqa: E402 - Django is set up by what stands above
import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from network.models import Like, Member, Post  # noqa: E402
from support import resolve, resources  # noqa: E402

from backbeat import models  # noqa: E402
from backbeat_django import importing, outbox, relay  # noqa: E402
from backbeat_django.models import Entry, Progress  # noqa: E402
from backbeat_ops import localcloud  # noqa: E402

PEOPLE, POSTS, LIKES, ROUNDS = 2_000, 8_000, 20_000, 5
WRITES = 1_000


def write_posts(author: Member) -> float:
    """Milliseconds that a post takes to save, the median of many."""
    times = []
    for number in range(WRITES):
        started = time.perf_counter()
        Post.objects.create(author=author, text=f"Post {number}")
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def cost_of_an_entry() -> None:
    """Say what an entry costs, while AWS hangs."""
    connection.cursor().execute("PRAGMA synchronous = OFF")  # the disk's time is the same for both, and hides the rest
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # it takes connections, and nobody answers
        before = os.environ.get("AWS_ENDPOINT_URL")
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        author = Member.objects.create_user("author")
        mark, plain, full = outbox.mark, [], []
        for _ in range(ROUNDS):
            outbox.mark = lambda *_: None
            plain.append(write_posts(author))
            outbox.mark = mark
            full.append(write_posts(author))
        os.environ["AWS_ENDPOINT_URL"] = before or ""
    more = [one - other for one, other in zip(full, plain, strict=True)]
    say(f"an entry: {statistics.median(plain):.2f} ms a write without, {statistics.median(full):.2f} ms with; ")
    say(f"{statistics.median(more):.2f} ms more (median of {ROUNDS} times {WRITES} writes; the bar is 2 ms)")


def make_tables(prefix: str) -> None:
    """Make the template's tables under other names, and bind the models to them."""
    dynamodb, names = boto3.client("dynamodb"), {}
    for name, table in resources("AWS::DynamoDB::Table").items():
        known = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        properties = {key: resolve(value) for key, value in table["Properties"].items() if key in known}
        dynamodb.create_table(TableName=f"{prefix}-{name}", **properties)
        names[name.upper().replace("TABLE", "_TABLE")] = f"{prefix}-{name}"
    models.bind(names)


def delete_tables(prefix: str) -> None:
    """Delete the tables again."""
    dynamodb = boto3.client("dynamodb")
    for name in resources("AWS::DynamoDB::Table"):
        dynamodb.delete_table(TableName=f"{prefix}-{name}")


Call = tuple[str, list[dict[str, Any]]]


def written(prefix: str) -> list[Call]:
    """All that the import has written, 25 items to a call."""
    dynamodb, calls = boto3.client("dynamodb"), []
    for name in ("UsersTable", "PostsTable", "LikesTable", "ActivityTable"):
        pages = dynamodb.get_paginator("scan").paginate(TableName=f"{prefix}-{name}")
        items = [item for page in pages for item in page["Items"]]
        calls += [(name, items[start : start + 25]) for start in range(0, len(items), 25)]
    return calls


def write_raw(prefix: str, calls: list[Call]) -> float:
    """Seconds that the same items take, written by boto3 alone on four threads."""
    dynamodb = boto3.client("dynamodb")

    def write(call: Call) -> None:
        requests = [{"PutRequest": {"Item": item}} for item in call[1]]
        dynamodb.batch_write_item(RequestItems={f"{prefix}-{call[0]}": requests})

    started = time.perf_counter()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, calls))
    return time.perf_counter() - started


def speed_of_the_import() -> None:
    """Say how fast the import is."""
    now = timezone.now()
    people = Member.objects.bulk_create([Member(username=f"m{n}", email=f"m{n}@example.net") for n in range(PEOPLE)])
    posts = Post.objects.bulk_create(
        Post(author=people[n % PEOPLE], text=f"Post {n} of many #topic{n % 50}", created_at=now) for n in range(POSTS)
    )
    likes = ((n % POSTS, (n * 7 + n // POSTS) % PEOPLE) for n in range(LIKES))
    Like.objects.bulk_create(
        [Like(post=posts[post], member=people[member], created_at=now) for post, member in likes], ignore_conflicts=True
    )
    Entry.objects.all().delete()
    shares = []
    for number in range(ROUNDS):
        prefix, other = f"bench{os.getpid()}-{number}", f"raw{os.getpid()}-{number}"
        make_tables(prefix)
        Progress.objects.all().delete()
        started = time.perf_counter()
        with relay.writing() as writer:
            importing.import_all(writer)
        took = time.perf_counter() - started
        calls = written(prefix)
        rows = sum(len(items) for _, items in calls)
        make_tables(other)
        plain = write_raw(other, calls)
        shares.append(plain / took)
        say(f"import {rows / took:,.0f} rows/s, raw {rows / plain:,.0f} rows/s: {plain / took:.2f}")
        delete_tables(prefix)
        delete_tables(other)
    say(f"import: {statistics.median(shares):.2f} of raw batch writes (median of {ROUNDS}; the bar is 0.85)")


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    localcloud.use(localcloud.endpoint())
    call_command("migrate", verbosity=0)
    cost_of_an_entry()
    speed_of_the_import()
