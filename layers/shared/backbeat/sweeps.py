"""Runs in parts: how a task walks more data than one invocation can.

The first message *plans*: it stores what each part is to do and the set of parts that are pending, then sends each
part to the same queue. A part stores its tally, and only then takes itself off the set. Whichever delivery finds the
set empty runs the finish. Every step may happen twice, or stop half way and be delivered again: planning sends only
what is pending, a part overwrites its own row, and the finish only sums up rows.

    @implementation(update_user_statistics)
    def handle(run: Run, full: bool = False) -> Recounted | InParts | PartDone:
        return in_parts(run, plan=lambda: slices(run.now, full), work=recount, finish=sum_up)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from pynamodb.expressions.condition import Condition
from pynamodb.indexes import GlobalSecondaryIndex
from pynamodb.models import Model

from backbeat import events, ledger, queues
from backbeat.ledger import Attempt, Outcome
from backbeat.logs import logger
from backbeat.messages import as_json
from backbeat.models import PAGE, SweepPart, SweepRun, Unreadable, Watermark, day_keys, save_if
from backbeat.runtime import InParts, NotYet, Run, for_ledger

R = TypeVar("R")
M = TypeVar("M", bound=Model)
Json = Any
Tally = Mapping[str, Any]

MOST_PARTS = 1_000
MOST_HOPS = 10
"""How often a part may send itself on. Lambda stops a chain of messages at about 16 invocations ("Use Lambda recursive
loop detection to prevent infinite loops", Lambda developer guide): one plans, one is the part's first, ten follow."""
MOST_OF_A_KIND = 32
"""Into how many parts one index is split at most."""
LARGEST_SPEC = 200_000
"""Bytes of the keys that a part is told to walk. DynamoDB's items hold 400 kB."""
LONGEST_GAP = timedelta(days=400)
"""How long ago a task's last run may be for the next to look for what has changed since. After a longer gap it looks at
all there is, as the first does, rather than ask for every day of the gap."""
SECONDS_TO_STOP = 30
"""With less time left, a part saves how far it has come and sends itself on."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Returned by a part that ran short of time: it is sent on, and resumes from its cursor.

    Attributes:
        cursor: Where to resume, as JSON.
        tally: What it has counted so far.
    """

    cursor: Json
    tally: Tally


@dataclass(frozen=True, slots=True)
class PartDone:
    """The result of one part.

    Attributes:
        part: Its number.
        tally: What it has counted.
    """

    part: int
    tally: Tally


Work = Callable[[Json, Json | None, Tally], Tally | Unfinished]


def in_parts(
    run: Run,
    *,
    plan: Callable[[], Sequence[Json]],
    work: Work,
    finish: Callable[[list[Tally]], R],
    hops: int = MOST_HOPS,
) -> R | InParts | PartDone:
    """Make a run in parts, or the part of it that the message asks for.

    Args:
        run: The run.
        plan: Splits the run into what each part is to do, as JSON. Called once for each run, or again
            where planning was cut off; it may then split it differently.
        work: Does one part, given what it is to do, and the cursor and tally that it left when it last ran short of
            time (None and an empty tally at first). It looks at `run.seconds_left` and returns its tally, or
            `Unfinished`. What it does must be safe to do twice.
        finish: Sums up the tallies of all parts into the run's result. It may be called more than once.
        hops: How often a part may send itself on: less often where the finish starts a further run.

    Returns:
        The result where the plan has no parts; else `InParts` from planning, and from a part that ran short of time
        and sent itself on, and `PartDone` from a part that is done.
        The run's own result is written to the ledger by the part that finishes it.

    Raises:
        ValueError: The plan has more than 1,000 parts.
        NotYet: A part came before its plan, or the plan is being made by another delivery.
    """
    if run.part is None:
        return _plan(run, plan, finish)
    return _do(run, run.part, work, finish, hops)


def walk(
    run: Run,
    index: "GlobalSecondaryIndex[M]",
    partitions: Sequence[str],
    cursor: Json | None,
    tally: Tally,
    work: Callable[[list[M], Counter[str]], None],
) -> Tally | Unfinished:
    """Walk through partitions of an index, page by page, as far as time allows.

    Args:
        run: The run, for the time that is left.
        index: The index.
        partitions: The hash keys of its partitions.
        cursor: Where the part stopped before.
        tally: What it had counted by then.
        work: Works on one page, of at most 100 rows with the index's keys alone, and adds to the tally.
    """
    counted = Counter(tally)
    number, last = cursor or (0, None)
    while number < len(partitions):
        rows = index.query(partitions[number], last_evaluated_key=last, limit=PAGE, page_size=PAGE)
        page = list(rows)
        if page:
            work(page, counted)
        last = rows.last_evaluated_key
        if last is None:
            number += 1
        if number < len(partitions) and run.seconds_left < SECONDS_TO_STOP:
            return Unfinished([number, last], dict(counted))
    return dict(counted)


def note_in(tally: Counter[str]) -> Callable[[Unreadable], None]:
    """What `readable` and `each` tell of a row that cannot be read: the log names it, and the tally counts it."""

    def note(error: Unreadable) -> None:
        logger.warning("unreadable", extra={"why": str(error)})
        tally["unreadable"] += 1

    return note


def add_up(tallies: Iterable[Tally]) -> Counter[str]:
    """The sum of the parts' tallies, number by number."""
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(tally)
    return total


def partitions(first: date, last: date) -> list[str]:
    """The partitions of an index by day from one day to another, both included; none where the first is later."""
    return [key for days in range((last - first).days + 1) for key in day_keys(first + timedelta(days=days))]


def spread(index: str, keys: Sequence[str]) -> list[Json]:
    """Parts that walk an index's partitions, one each, or several where there are more than 32 of them.

    No part is told more than a row holds, so that there are more than 32 parts where there are very many partitions.
    """
    longest = max((len(key.encode()) for key in keys), default=0) + len('"", ')
    size = max(1, min(-(-len(keys) // MOST_OF_A_KIND), LARGEST_SPEC // longest))
    return [{"index": index, "keys": keys[start : start + size]} for start in range(0, len(keys), size)]


def watermark(task: str, name: str = "until") -> datetime | None:
    """How far a task has come, or None before its first run."""
    try:
        return Watermark.get(f"watermark#{task}", name, consistent_read=True).until
    except Watermark.DoesNotExist:
        return None


def last_run(task: str, now: datetime, name: str = "until") -> datetime | None:
    """How far a task has come, or None where a run has to look at all there is: the first, and one after a long gap."""
    until = watermark(task, name)
    return until if until and now - until <= LONGEST_GAP else None


def advance(task: str, until: datetime, name: str = "until") -> None:
    """Move a task's watermark on; it never moves back."""
    row = Watermark(f"watermark#{task}", name, until=until)
    save_if(row, Watermark.task.does_not_exist() | (Watermark.until < until))


def held(index: "GlobalSecondaryIndex[Any]", key: str, last: date) -> list[str]:
    """The partitions of an index by day that hold rows, up to a day; `key` is the name of the index's hash key.

    This reads the whole index, keys only, as an index cannot be asked for its partitions. A task needs it once, before
    it has a watermark. What it is sized by are rows that exist: a date of the year 1 is one partition more.
    """
    found = {getattr(row, key) for row in index.scan(attributes_to_get=[key])}
    return sorted(name for name in found if name.partition("#")[0] <= f"{last}")


def as_read(attribute: Any, value: Any) -> Condition:
    """The condition that an attribute still has the value that was read, where a missing one is read as its default."""
    missing: Condition = attribute.does_not_exist()
    if value is None:
        return missing
    same: Condition = attribute == value
    default = attribute.default() if callable(attribute.default) else attribute.default
    if default is None or attribute.serialize(value) != attribute.serialize(default):
        return same
    either: Condition = missing | same
    return either


def not_newer(as_of: Any, now: datetime) -> Condition:
    """The condition that no newer run has written a row: a run that is late changes nothing of it."""
    missing: Condition = as_of.does_not_exist()
    older_or_missing: Condition = missing | (as_of <= now)
    return older_or_missing


def _plan(run: Run, plan: Callable[[], Sequence[Json]], finish: Callable[[list[Tally]], R]) -> R | InParts:
    key = _key(run)
    try:
        sweep = SweepRun.get(key, "run", consistent_read=True)
    except SweepRun.DoesNotExist:
        specs = plan()
        if len(specs) > MOST_PARTS:
            raise ValueError(f"the plan has {len(specs)} parts; a run has at most {MOST_PARTS}") from None
        expires = datetime.now(UTC) + ledger.KEPT
        with SweepPart.batch_write() as batch:
            for number, spec in enumerate(specs):
                batch.save(SweepPart(key, _number(number), spec=spec, expires=expires))
        sweep = SweepRun(
            key, parts=len(specs), pending=set(range(len(specs))) or None, started=datetime.now(UTC), expires=expires
        )
        if not save_if(sweep, SweepRun.sweep.does_not_exist()):
            raise NotYet("another delivery is planning this run") from None
    if not sweep.pending:
        return _sum_up(sweep, finish)  # the runtime writes this message's result as the run's
    _send(run, sorted(int(number) for number in sweep.pending))
    return InParts(int(sweep.parts))


def _do(run: Run, number: int, work: Work, finish: Callable[[list[Tally]], R], hops: int) -> PartDone | InParts:
    part = _part(run, number)
    if not part.done:
        outcome = work(part.spec, part.cursor, part.tally or {})
        if isinstance(outcome, Unfinished):
            return _send_on(run, part, number, outcome, hops)
        # What it was to do may name users, and is kept no longer than it is needed.
        done = [SweepPart.done.set(True), SweepPart.spec.remove(), SweepPart.cursor.remove()]
        part.update(actions=[SweepPart.tally.set(as_json(outcome)), *done])
    sweep = SweepRun(part.sweep)
    sweep.update(actions=[SweepRun.pending.delete({number})], condition=SweepRun.sweep.exists())
    if not sweep.pending and not sweep.finished:
        result = _sum_up(sweep, finish)
        took = datetime.now(UTC) - sweep.started
        attempt = Attempt(
            outcome=Outcome.SUCCEEDED,
            started=sweep.started,
            duration_ms=round(took / timedelta(milliseconds=1)),
            request_id=run.context.aws_request_id,
            result=for_ledger(result),
        )
        ledger.finish(run.message, run.task.task_class, attempt)
        sweep.update(actions=[SweepRun.finished.set(True)])
        events.note(run.message.for_part(None), run.task.task_class, attempt)
    return PartDone(number, part.tally)


def _part(run: Run, number: int) -> SweepPart:
    """What a part is to do, and how far it has come."""
    for key in (_key(run), f"sweep#{run.id}"):  # under the second, it was planned by a version before this one
        try:
            return SweepPart.get(key, _number(number), consistent_read=True)
        except SweepPart.DoesNotExist:
            continue
    raise NotYet(f"part {number} of {run.id} is not planned")


def _send_on(run: Run, part: SweepPart, number: int, unfinished: Unfinished, hops: int) -> InParts:
    """Save how far a part has come, and send it to its queue once more.

    Raises:
        RuntimeError: It has been sent on as often as it may. It goes on all the same, as often as the task is tried: a
            message that comes back is no longer chain. So does its dead letter, once it is retried.
    """
    part.update(
        actions=[
            SweepPart.cursor.set(as_json(unfinished.cursor)),
            SweepPart.tally.set(as_json(unfinished.tally)),
            SweepPart.hops.add(1),
        ]
    )
    if part.hops > hops:
        raise RuntimeError(f"part {number} of {run.id} has been sent on {hops} times and is not done: split it finer")
    _send(run, [number])
    return InParts(1)


def _sum_up(sweep: SweepRun, finish: Callable[[list[Tally]], R]) -> R:
    rows = list(SweepPart.query(sweep.sweep, SweepPart.number.startswith("part#"), consistent_read=True))
    # A plan that was cut off may have left rows behind that the next one does not count.
    return finish([row.tally for row in rows[: int(sweep.parts)]])


def _send(run: Run, numbers: Sequence[int]) -> None:
    """Put parts on the task's queue."""
    queues.put_all(run.task.queue, [run.message.for_part(number).to_json() for number in numbers])


def _key(run: Run) -> str:
    """Of a run's rows. Its id is its own among its task's runs only, as whoever sends a message names it."""
    return f"{run.task.name}#sweep#{run.id}"


def _number(number: int) -> str:
    return f"part#{number:04}"
