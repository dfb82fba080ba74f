"""What a shell offers on a tab: names that are known here at once, and ids that are asked for, for two seconds."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Thread

import typer
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from backbeat import ledger
from backbeat.aws import schedule_group, scheduler
from backbeat.producer import PRIORITIES
from backbeat.tasks import TASKS
from backbeat_ops import localcloud, mail
from backbeat_ops.stack import NotFound, Stack
from backbeat_ops.terminal import on_aws

PATIENCE = 2.0
"""Seconds for which whoever presses tab waits; what has come by then is offered."""
OF_EACH_TASK = 20
"""Of its runs, and of deliveries, so many are offered."""


def tasks(incomplete: str) -> list[str]:
    """The names of tasks."""
    return [name for name in sorted(TASKS) if name.startswith(incomplete)]


def classes(incomplete: str) -> list[str]:
    """The names of classes."""
    return [name for name in PRIORITIES if name.startswith(incomplete)]


def classes_and_tasks(incomplete: str) -> list[str]:
    """The names of classes and of tasks."""
    return classes(incomplete) + tasks(incomplete)


def schedules(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the stack's schedules."""

    def look(stack: Stack) -> Iterable[str]:
        pages = scheduler().get_paginator("list_schedules").paginate(GroupName=schedule_group(stack.name))
        return (item["Name"] for page in pages for item in page["Schedules"])

    return _asked(context, incomplete, look)


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of today's and yesterday's runs; a scheduled run's begins with its task."""

    def look(stack: Stack) -> Iterable[str]:
        today = datetime.now(UTC).date()
        for name in TASKS:
            for day in (today, today - timedelta(days=1)):
                for run in ledger.recent(name, day, OF_EACH_TASK):
                    yield run.run_id

    return _asked(context, incomplete, look)


def deliveries(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of the deliveries that `backbeat mail list` shows."""

    def look(stack: Stack) -> Iterable[str]:
        now = datetime.now(UTC)
        days = [now.date(), now.date() - timedelta(days=1)]
        return (row["delivery_id"] for row in mail.listed(days, None, OF_EACH_TASK, now)[0])

    return _asked(context, incomplete, look)


def _asked(context: typer.Context, incomplete: str, look: Callable[[Stack], Iterable[str]]) -> list[str]:
    """What a look at the stack that is meant has found in time; nothing where it cannot be asked."""
    found: list[str] = []

    def ask() -> None:
        with suppress(BotoCoreError, ClientError, PynamoDBException, NotFound, OSError):
            stack = _stack(context)
            if stack is None:
                return
            stack.bind()
            for name in look(stack):
                if name.startswith(incomplete) and name not in found:
                    found.append(name)

    asking = Thread(target=ask, daemon=True)  # which does not keep the process from ending
    asking.start()
    asking.join(PATIENCE)
    return list(found)


def _stack(context: typer.Context) -> Stack | None:
    """The stack that is meant; the local cloud is not waited for."""
    if name := on_aws(context):
        return Stack(name)
    cloud = localcloud.find()
    if cloud is None:
        return None
    localcloud.use(cloud.url)
    return Stack(localcloud.STACK)
