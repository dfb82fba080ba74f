"""A worker is killed while it makes renditions. Most of that test is waiting, so it is in a file that starts early."""

import time
from contextlib import suppress
from datetime import UTC, datetime

import boto3
import psutil
from support import Backbeat

from backbeat import ledger
from backbeat.messages import Message, iso
from backbeat.models import Flight, Post
from backbeat_ops import localcloud, runs
from backbeat_ops.stack import Stack


def stopped(function: str) -> list[psutil.Process]:
    """The processes in which the local cloud runs a function, standing still."""
    emulator = localcloud.find()
    assert emulator is not None
    still = []
    for process in emulator.process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # its work may have ended just now
            if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                process.suspend()
                still.append(process)
    return still


def killed_at_work(function: str) -> Flight:
    """Kill a function's workers while one is at work; they stand still while that is looked up, so none is missed."""
    until = time.monotonic() + 60
    while True:
        still = stopped(function)
        flights = ledger.in_flight("process_media_upload")
        for worker in still:
            with suppress(psutil.NoSuchProcess):  # one that ends with another
                worker.kill() if flights else worker.resume()
        if flights:
            (flight,) = flights
            return flight
        assert time.monotonic() < until, "nobody works on the upload"


def test_a_killed_workers_upload_is_back_long_before_its_queue_would_show_it(
    cloud: Stack, backbeat: Backbeat, photo: bytes
) -> None:
    """The queue hides what a worker has for half an hour."""
    post = Post.new("killed", author_id="user-1", text="#hills", created_at=datetime.now(UTC))
    post.save()
    boto3.client("s3").put_object(Bucket=cloud.buckets["uploads"], Key="posts/killed/a.jpg", Body=photo)
    flight = killed_at_work(f"{cloud.name}-process_media_upload")
    (work,) = backbeat("status", "--json", ails=None)["tasks"]["process_media_upload"]["at_work"]
    assert (work["run_id"], work["since"]) == (flight.message_id, iso(flight.since))
    assert flight.message_id in [run["run_id"] for run in backbeat("runs", "--json") if run["outcome"] == "running"]
    (run,) = runs.wait([Message(task="process_media_upload", id=flight.message_id, sent_at=flight.since)], 180)
    assert run.outcome == "succeeded"
    assert Post.get(post.post_id).media_status == "ready"
