"""The relay: it carries the outbox to Backbeat, in order and in batches, and survives whatever happens meanwhile.

One is at work at a time, by a lease that it renews before each batch. An entry is deleted only after it was applied, so
a relay that is killed repeats its last batch, which changes nothing. One that was held up for longer than its lease, so
that another took over, finds that out after its batch, and writes the batch's entries anew: whatever old state it has
written, the other one puts right.

Where AWS does not answer, it waits and tries again; entries stay. An entry that can never be applied (a value that
DynamoDB refuses, say) is set aside with its error; `--retry` takes those up again, as does the row's next change.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from django.db import transaction
from django.db.models import Min
from django.utils import timezone
from pynamodb.exceptions import PynamoDBException

from backbeat.messages import Message
from backbeat.producer import NotSent, ScheduleGroupNotFound
from backbeat.queues import QueueNotFound
from backbeat.tasks import TASKS
from backbeat_django import files, mirror
from backbeat_django.mapping import mapping
from backbeat_django.models import Entry, Lease
from backbeat_django.outbox import Key

BATCH = 200
"""Entries that are applied at a time."""
LEASE = timedelta(seconds=60)
"""For how long a lease holds; a batch takes a few seconds, as clients give up early."""


class Busy(Exception):
    """Another relay or import is at work."""

    def __init__(
        self,
        what: str = "another relay or import is at work, or was killed, and gives way a minute after it went silent",
    ) -> None:
        super().__init__(what)


class AwsUnavailable(Exception):
    """AWS does not answer, or not for us: nothing is wrong with the entries."""


@dataclass(frozen=True, slots=True)
class State:
    """What the outbox holds.

    Attributes:
        waiting: Entries that wait.
        aside: Entries that were set aside.
        lag: How long the oldest one that waits has waited, in seconds.
        holder: Who holds the lease; None where nobody does.
    """

    waiting: int
    aside: int
    lag: float
    holder: str | None


def state() -> State:
    """What the outbox holds now."""
    database, now = mapping().database, timezone.now()
    entries = Entry.objects.using(database)
    waiting = entries.filter(error="")
    oldest = waiting.aggregate(oldest=Min("at"))["oldest"]
    lease = Lease.objects.using(database).filter(name="writer", until__gt=now).first()
    return State(
        waiting=waiting.count(),
        aside=entries.exclude(error="").count(),
        lag=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
        holder=lease.holder if lease else None,
    )


class Writer:
    """Whoever holds the lease, and so may write to Backbeat's tables."""

    def __init__(self) -> None:
        self.holder = secrets.token_hex(8)

    def renew(self) -> bool:
        """Take or keep the lease; return whether it is ours."""
        database, now = mapping().database, timezone.now()
        leases = Lease.objects.using(database)
        leases.bulk_create([Lease(name="writer", holder="", until=now - LEASE)], ignore_conflicts=True)
        mine = leases.filter(name="writer", holder=self.holder)
        free = leases.filter(name="writer", until__lte=now)
        return bool((mine | free).update(holder=self.holder, until=now + LEASE))

    def holds(self) -> bool:
        """Whether the lease is still ours."""
        leases = Lease.objects.using(mapping().database)
        return leases.filter(name="writer", holder=self.holder, until__gt=timezone.now()).exists()

    def release(self) -> None:
        """Let somebody else have it at once."""
        leases = Lease.objects.using(mapping().database)
        leases.filter(name="writer", holder=self.holder).update(until=timezone.now() - LEASE)


@contextmanager
def writing() -> Iterator[Writer]:
    """Hold the lease for a while.

    Raises:
        Busy: Somebody else holds it.
    """
    writer = Writer()
    if not writer.renew():
        raise Busy
    try:
        yield writer
    finally:
        writer.release()


def drain(writer: Writer, now: datetime | None = None) -> Counter[str]:
    """Apply one batch of entries, the oldest first; return what was done, nothing where none waits.

    Args:
        writer: Who holds the lease.
        now: The time; the clock's where it is not given.

    Raises:
        Busy: The lease is somebody else's by now.
        AwsUnavailable: AWS does not answer; the entries stay.
    """
    if not writer.renew():
        raise Busy
    entries = list(Entry.objects.using(mapping().database).filter(error="").order_by("pk")[:BATCH])
    if not entries:
        return Counter()
    now = now or timezone.now()
    try:
        done = _apply(entries, now)
        settled = entries
    except AwsUnavailable:
        raise
    except Exception:  # noqa: BLE001 - whichever entry it is, the others are not to wait for it
        done, settled = _apply_each(entries, now)
    with transaction.atomic(using=mapping().database):
        waiting = Entry.objects.using(mapping().database)
        waiting.filter(pk__in=[entry.pk for entry in settled]).delete()
        # What was set aside is applied with the row's next change.
        keys = {(entry.kind, entry.key) for entry in settled if entry.kind not in ("task", files.ENTRY)}
        aside = waiting.exclude(error="").filter(key__in={key for _, key in keys})
        waiting.filter(pk__in=[entry.pk for entry in aside if (entry.kind, entry.key) in keys]).delete()
        if not writer.holds():
            # Somebody else has written meanwhile what may be newer: have all of it read again.
            again = [Entry(kind=e.kind, key=e.key, fields=e.fields, at=e.at) for e in settled if e.kind != "task"]
            waiting.bulk_create(again)
    return done + Counter(entries=len(entries))


def _apply(entries: Sequence[Entry], now: datetime) -> Counter[str]:
    """Apply entries: the rows first, whatever their order, then the messages, in theirs."""
    keys: dict[str, dict[Key, None]] = {}
    said: dict[str, dict[Key, frozenset[str]]] = {}
    for entry in entries:
        if entry.kind == "task":
            continue
        key = tuple(json.loads(entry.key))
        keys.setdefault(entry.kind, {})[key] = None
        if entry.fields:
            known = said.setdefault(entry.kind, {})
            known[key] = known.get(key, frozenset()) | set(entry.fields.split(","))
    with aws():
        done = mirror.sync_all(keys, now, said)
        if files.are_mapped():
            done += files.carry([*{**keys.get("post", {}), **keys.get(files.ENTRY, {})}], set_aside)
        for entry in entries:
            if entry.kind == "task":
                _send(entry)
                done["sent"] += 1
    return done


def _send(entry: Entry) -> None:
    """Send a message; sent twice, it is one run, as it keeps its id."""
    held = json.loads(entry.body)
    message, time = Message.of(json.loads(held["message"])), datetime.fromisoformat(held["time"])
    try:
        TASKS[entry.key].send(message, time)
    except (NotSent, QueueNotFound, ScheduleGroupNotFound) as error:
        raise AwsUnavailable(str(error)) from error


def _apply_each(entries: Sequence[Entry], now: datetime) -> tuple[Counter[str], list[Entry]]:
    """Apply entries one by one, and set aside those that cannot be; return what was done, and the others."""
    done: Counter[str] = Counter()
    settled = []
    for entry in entries:
        try:
            done += _apply([entry], now)
        except AwsUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - told with the entry, which is kept
            entry.error = f"{type(error).__name__}: {error}"[:1000]
            entry.save(update_fields=["error"])
            done["aside"] += 1
        else:
            settled.append(entry)
    return done, settled


REFUSED = frozenset({"ValidationException", "InvalidParameterValue", "InvalidMessageContents"})
"""What AWS says of a request that can never work; all else may be over in a while."""


def refused(error: Exception) -> bool:
    """Whether an error is AWS's refusal of what was asked, and not its silence."""
    cause = error.cause if isinstance(error, PynamoDBException) else error
    if isinstance(cause, ClientError):
        return cause.response["Error"]["Code"] in REFUSED
    return not isinstance(cause, BotoCoreError) or isinstance(cause, ParamValidationError)


@contextmanager
def aws() -> Iterator[None]:
    """Tell AWS's silence from a row's fault."""
    try:
        yield
    except (ClientError, BotoCoreError, PynamoDBException) as error:
        if refused(error):
            raise
        raise AwsUnavailable(str(error)) from error


def set_aside(kind: str, key: Key, why: str) -> None:
    """Keep what Backbeat cannot have, with why, until somebody takes it up again."""
    entries = Entry.objects.using(mapping().database)
    entries.update_or_create(
        kind=kind, key=json.dumps(key), error__gt="", defaults={"at": timezone.now(), "error": why[:1000]}
    )


def retry_aside() -> int:
    """Take up again what was set aside; return how many entries."""
    return Entry.objects.using(mapping().database).exclude(error="").update(error="")
