"""2,000 welcomes on the running local cloud while whoever sends them is killed: `make bench-killed`.

Before that, how long it is from `.delay()` to the start of a run, one at a time. The queue shows what a killed worker
had in hand after five seconds meanwhile, not after six minutes.
"""

import json
import os
import random
import statistics
import sys
import time
import urllib.request
from collections import Counter
from datetime import UTC, datetime

import psutil

from backbeat import ledger, letters, queues
from backbeat.aws import sqs
from backbeat.mail import deliveries
from backbeat.messages import Message
from backbeat.models import User
from backbeat.tasks import send_welcome_email
from backbeat_ops import localcloud

MEMBERS = 2_000
KILLS = 30
STARTS = 100
DOMAIN = f"b{os.getpid()}.example"
QUIET = 20.0
"""Seconds in which nothing is on the queue, when all is over."""


def join(number: int) -> list[str]:
    """New members; their ids."""
    now = datetime.now(UTC)
    ids = [f"{DOMAIN}-{n}" for n in range(number)]
    with User.batch_write() as batch:
        for user_id in ids:
            user = User(user_id, name="Ada", email=f"{user_id}@{DOMAIN}", created_at=now)
            batch.save(user)
    return ids


def starts(ids: list[str], stack: str) -> list[float]:
    """Milliseconds from `.delay()` to the start of its run, one message at a time, each when its queue is empty."""
    os.environ["BACKBEAT_STACK"] = stack
    took = []
    for user_id in ids:
        sent = datetime.now(UTC)
        run_id = send_welcome_email.delay(user_id)
        started: dict[str, datetime] = {}
        while run_id not in started:
            time.sleep(0.3)
            started = {run.run_id: run.started for run in ledger.recent("send_welcome_email", sent.date(), 99)}
        took.append((started[run_id] - sent).total_seconds() * 1000)
    return took


def kill_one(cloud: psutil.Process) -> bool:
    """Kill a worker that sends welcomes, if there is one."""
    workers = []
    for child in cloud.children(recursive=True):
        try:
            if child.environ().get("AWS_LAMBDA_FUNCTION_NAME", "").endswith("send_welcome_email"):
                workers.append(child)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    if workers:
        random.choice(workers).kill()
    return bool(workers)


def mailed() -> Counter[str]:
    """How many mails each address of the members has."""
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/_ministack/ses/messages") as answer:
        accounts = json.load(answer)["messages"]
    addresses = (mail["To"][0] for mails in accounts.values() for mail in mails)
    return Counter(address for address in addresses if address.endswith(f"@{DOMAIN}"))


def main() -> None:
    """Print what became of the mails."""
    localcloud.use(localcloud.endpoint())
    stack, cloud = localcloud.stack(), localcloud.find()
    assert cloud is not None
    stack.bind()
    ids = join(STARTS + MEMBERS)
    took = starts(ids[:STARTS], stack.name)
    p50, p90 = statistics.median(took), statistics.quantiles(took, n=10)[-1]
    sys.stdout.write(f"from .delay() to the start of its run, {STARTS} times: p50 {p50:.0f} ms, p90 {p90:.0f}\n")
    queue = send_welcome_email.queue_name(stack.name)
    url = queues.queue_url(queue)
    before = sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs().set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "5"})
    try:
        members = ids[STARTS:]
        at = datetime.now(UTC)
        bodies = [
            Message(task="send_welcome_email", id=f"{DOMAIN}-{n}", kwargs={"user_id": user_id}, sent_at=at).to_json()
            for n, user_id in enumerate(members)
        ]
        queues.put_all(queue, bodies)
        begun, kills, quiet_since = time.monotonic(), 0, None
        while quiet_since is None or time.monotonic() - quiet_since < QUIET:
            time.sleep(random.uniform(0.2, 0.8))
            if kills < KILLS:
                kills += kill_one(cloud.process)
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            left = sqs().get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            empty = not any(int(number) for number in left.values())
            quiet_since = (quiet_since or time.monotonic()) if empty else None
        seconds = time.monotonic() - begun - QUIET
    finally:
        sqs().set_queue_attributes(QueueUrl=url, Attributes=before)
    each = mailed()
    got = [each[f"{user_id}@{DOMAIN}"] for user_id in members]
    unknown = {row.user_id for row in deliveries.unsettled(datetime.now(UTC))}
    lost = [user_id for user_id, mails in zip(members, got, strict=True) if not mails and user_id not in unknown]
    sys.stdout.write(
        f"{MEMBERS:,} welcomes, {kills} workers killed, {seconds:.0f} s: {sum(n == 1 for n in got):,} members have one"
        f" mail, {sum(n > 1 for n in got)} have two; {len(unknown & set(members))} are listed as unknown, in"
        f" {letters.number(send_welcome_email)} dead letters; of {len(lost)} nothing is known\n"
    )
    if lost or max(got) > 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
