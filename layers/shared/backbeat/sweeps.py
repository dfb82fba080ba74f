"""Runs in parts: how a task walks more data than one invocation can.

The first message *plans*: it stores what each part is to do and the set of parts that are pending, then sends each
part to the same queue. A part stores its tally, and only then takes itself off the set. Whichever delivery finds the
set empty runs the finish. Every step may happen twice, or stop half way and be delivered again: planning sends only
what is pending, a part overwrites its own row, and the finish only sums up rows.

A part that is too much for one *splits* itself: others do what is left, by the same rules, and what they counted
becomes what it has counted. So parts form a tree, of at most 1,000 a node, and no step grows with the data.

    @implementation(update_user_statistics)
    def handle(run: Run, full: bool = False) -> Recounted | InParts | PartDone:
        return in_parts(run, plan=lambda: slices(run.now, full), work=recount, finish=sum_up)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar

from pynamodb.expressions.condition import Condition
from pynamodb.indexes import GlobalSecondaryIndex
from pynamodb.models import Model

from backbeat import events, ledger, queues
from backbeat.ledger import Attempt, Outcome
from backbeat.logs import logger
from backbeat.messages import as_json
from backbeat.models import PAGE, SweepPart, SweepRun, Unreadable, Watermark, day_keys, each, save_if, update_if
from backbeat.runtime import InParts, NotYet, Run, for_ledger

R = TypeVar("R")
M = TypeVar("M", bound=Model)
Json = Any
Tally = Mapping[str, Any]

MOST_PARTS = 1_000
"""Of a run, and of one part that splits itself."""
MOST_SPLITS = 100
"""How often one part may split itself, those attempts included that were cut off."""
MOST_HOPS = 10
"""How often a part may send itself on or, counted together, those into which it is split. Lambda stops a chain of
messages at about 16 invocations ("Use Lambda recursive loop detection to prevent infinite loops", Lambda developer
guide): one plans, one is the part's first, ten follow."""
MOST_OF_A_KIND = 32
"""Into how many parts one index is split at most."""
LARGEST_SPEC = 200_000
"""Bytes of the keys that a part is told to walk. DynamoDB's items hold 400 kB."""
LONGEST_GAP = timedelta(days=400)
"""How long ago a task's last run may be for the next to look for what has changed since. After a longer gap it looks at
all there is, as the first does, rather than ask for every day of the gap."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""What a watermark that cannot be read counts as, so that a run looks at all there is, as after a long gap."""
SECONDS_TO_STOP = 30
"""With less time left, a part saves how far it has come, and sends itself on or splits itself."""
MOST_ASIDE = PAGE
"""How many parts what is too much for a page may become before the part splits itself."""
SECONDS_TO_LOOK_AHEAD = 15
"""With less time left, a part that splits itself counts no further what is left."""


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
class Split:
    """Returned by a part that is too much for one: others do what is left.

    Attributes:
        parts: What each of them is to do, as JSON; at most 1,000.
        tally: What the part has counted so far. To this, what the others count is added.
        cursor: Where it goes on when all of them are done; None where it is done then, too.
        resume: Where it would resume, were it sent on: for one that has been sent on as often as it may.
    """

    parts: Sequence[Json]
    tally: Tally
    cursor: Json | None = None
    resume: Json | None = None


@dataclass(frozen=True, slots=True)
class PartDone:
    """The result of one part.

    Attributes:
        part: Its number.
        tally: What it has counted.
    """

    part: int
    tally: Tally


Worked = Tally | Unfinished | Split
Work = Callable[[Json, Json | None, Tally], Worked]


def add_up(tallies: Iterable[Tally]) -> Counter[str]:
    """The sum of the parts' tallies, number by number."""
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(tally)
    return total


def in_parts(
    run: Run,
    *,
    plan: Callable[[], Sequence[Json]],
    work: Work,
    finish: Callable[[list[Tally]], R],
    merge: Callable[[Iterable[Tally]], Tally] = add_up,
    hops: int = MOST_HOPS,
) -> R | InParts | PartDone:
    """Make a run in parts, or the part of it that the message asks for.

    Args:
        run: The run.
        plan: Splits the run into what each part is to do, as JSON. Called once for each run, or again
            where planning was cut off; it may then split it differently.
        work: Does one part, given what it is to do, and the cursor and tally that it left when it last ran short of
            time or split itself (None and an empty tally at first). It looks at `run.seconds_left` and returns its
            tally, or `Unfinished`, or `Split`. What it does must be safe to do twice.
        finish: Sums up the tallies of all parts into the run's result. It may be called more than once.
        merge: Adds the tallies of those into which a part was split to its own, which comes first.
        hops: How many further messages a part's may lead to, one after the other: fewer where the finish starts a
            further run.

    Returns:
        The result where the plan has no parts; else `InParts` from planning, and from a part that ran short of time
        and sent itself on or was split, and `PartDone` from a part that is done.
        The run's own result is written to the ledger by the part that finishes it.

    Raises:
        ValueError: The plan, or what a part is split into, has more than 1,000 parts.
        NotYet: A part came before its plan, or the plan is being made by another delivery.
    """
    if run.part is None:
        return _plan(run, plan, finish)
    return _do(run, run.part, _Steps(work, merge, finish, hops))


def walk(
    run: Run,
    index: "GlobalSecondaryIndex[M]",
    spec: Json,
    cursor: Json | None,
    tally: Tally,
    work: Callable[[list[M], Counter[str]], list[Json] | None],
    needs: Sequence[str] = (),
) -> Worked:
    """Walk through partitions of an index, page by page, as far as time allows; then split up what is left.

    The others take a partition each, or, where one is long, a stretch of it which is about as many rows as this part
    has done in its time.

    Args:
        run: The run, for the time that is left.
        index: The index.
        spec: What the part is to do: `keys` are the hash keys of the partitions. Where another part has split itself
            into this one, it walks the first of them from behind the range key `after`, or the row `last`, to `until`;
            with `most`, nobody knows how long that is, and it is split first, by so many rows.
        cursor: Where the part stopped before.
        tally: What it had counted by then.
        work: Works on one page, of at most 100 rows with what the index holds, and adds to the tally. What of it is
            too much for a page, it may return as parts.
        needs: Attributes in the index without which a row is of no use; it is passed over, and counted as unreadable.
    """
    counted = Counter(tally)
    keys, stretch, done = spec["keys"], _Stretch(index, spec.get("after"), spec.get("until")), 0
    number, last, *more = cursor or (0, spec.get("last"))
    aside: list[Json] = more[0] if more else []
    rest = {name: value for name, value in spec.items() if name not in ("keys", "after", "until", "last", "most")}
    if "most" in spec and cursor is None:  # there was no time to look at it
        parts = [rest | part for part in _what_is_left(run, stretch, keys, last, spec["most"])]
        if len(parts) > 1:
            return Split(parts, tally, resume=[number, last, []])
    while number < len(keys):
        page, last = stretch.page(keys[number], last, note_in(counted), needs)
        if page:
            aside += work(page, counted) or []
        done += len(page)
        if last is None:
            number, stretch = number + 1, _Stretch(index)
        full = len(aside) >= MOST_ASIDE
        if number < len(keys) and (full or run.seconds_left < SECONDS_TO_STOP):
            parts = [rest | part for part in _what_is_left(run, stretch, keys[number:], last, max(PAGE, done))]
            if len(parts) > 1 or aside:
                return Split(aside + parts, dict(counted), resume=[number, last, aside])
            return Unfinished([number, last], dict(counted))
    return Split(aside, dict(counted), resume=[number, None, aside]) if aside else dict(counted)


def bounded(only: Sequence[str]) -> list[Json]:
    """The one part of a run that is bound to some rows: `work` is told their ids, and the finish is to move nothing."""
    return [{"only": list(only)}]


def named(model: type[M], spec: Json, work: Callable[[list[M], Counter[str]], list[Json] | None]) -> Worked:
    """Work on the rows that a bounded run names as on one page of an index; see `walk`."""
    counted: Counter[str] = Counter()
    aside = work([model(name) for name in spec["only"]], counted)
    return Split(aside, dict(counted)) if aside else dict(counted)


def note_in(tally: Counter[str]) -> Callable[[Unreadable], None]:
    """What `readable` and `each` tell of a row that cannot be read: the log names it, and the tally counts it."""

    def note(error: Unreadable) -> None:
        logger.warning("unreadable", extra={"why": str(error)})
        tally["unreadable"] += 1

    return note


class _Stretch:
    """The rows of an index's partition between two range keys, the first excluded; without one, from its end."""

    def __init__(self, index: "GlobalSecondaryIndex[Any]", after: Any = None, until: Any = None) -> None:
        self.index, self.after, self.until = index, after, until
        self.range_key: Any = next(key for key in index.Meta.attributes.values() if key.is_range_key)
        self.name = next(name for name, key in index.Meta.attributes.items() if key is self.range_key)

    def page(
        self, key: str, last: Any, broken: Callable[[Unreadable], None], needs: Sequence[str]
    ) -> tuple[list[Any], Any]:
        """A page of rows, and where the next one begins, or None where there is none."""
        rows = self.index.query(key, self._between(), last_evaluated_key=last, limit=PAGE, page_size=PAGE)
        read = each(iter(rows), broken, needs=needs)
        return [row for row in read if self.of(row) != self.after], rows.last_evaluated_key

    def rows(self, key: str, last: Any) -> Iterator[Any]:
        """All rows, the index's keys alone, as many at once as DynamoDB gives."""
        rows = self.index.query(key, self._between(), last_evaluated_key=last)
        return (row for row in each(iter(rows), lambda error: None) if self.of(row) != self.after)

    def of(self, row: Any) -> Any:
        """A row's range key as JSON."""
        return self.range_key.serialize(getattr(row, self.name))

    def _between(self) -> Condition | None:
        after, until = (end and self.range_key.deserialize(end) for end in (self.after, self.until))
        if after and until:
            between: Condition = self.range_key.between(after, until)
            return between
        above: Condition | None = self.range_key > after if after else None
        return self.range_key <= until if until else above


def _what_is_left(run: Run, stretch: _Stretch, keys: Sequence[str], last: Any, most: int) -> list[dict[str, Any]]:
    """What is left of a stretch, and of the partitions after it, as parts of about `most` rows of the one.

    To read keys takes a small part of the time that the work takes. What there is no time to look at, or would be a
    part too many, is left to the last part of the stretch, which begins by splitting itself.
    """
    first, others = keys[0], keys[1:]
    size = max(1, -(-len(others) // (MOST_PARTS // 2)))
    grouped = [{"keys": others[start : start + size]} for start in range(0, len(others), size)]
    parts: list[dict[str, Any]] = []
    begins = {"last": last} if last else {"after": stretch.after} if stretch.after else {}
    previous, count, cut = None, 0, False
    for row in stretch.rows(first, last):
        value = stretch.of(row)
        if previous not in (None, value):  # a stretch ends where a range key does, as rows may share one
            if count >= most:
                parts.append({"keys": [first], **begins, "until": previous})
                begins, count = {"after": previous}, 0
            room = MOST_PARTS - 2 * MOST_ASIDE - len(grouped)
            if cut := run.seconds_left < SECONDS_TO_LOOK_AHEAD or len(parts) + 1 >= room:
                break
        previous, count = value, count + 1
    if previous is not None:
        ends = {"until": stretch.until} if stretch.until else {}
        parts.append({"keys": [first], **begins, **ends} | ({"most": most} if cut and parts else {}))
    return parts + grouped


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
    """How far a task has come, or None before its first run; `LONG_AGO` where nobody can read how far."""
    read = Watermark.query(f"watermark#{task}", Watermark.name == name, consistent_read=True)
    broken: list[Unreadable] = []
    row = next(each(read, broken.append, needs=["until"]), None)
    for error in broken:
        logger.warning("unreadable", extra={"why": f"{error}; so it counts as one of long ago"})
    return row.until if row else LONG_AGO if broken else None


def last_run(task: str, now: datetime, name: str = "until") -> datetime | None:
    """How far a task has come, or None where a run has to look at all there is: the first, and one after a long gap."""
    until = watermark(task, name)
    return until if until and now - until <= LONGEST_GAP else None


def advance(task: str, until: datetime, name: str = "until") -> None:
    """Move a task's watermark on; it never moves back. One that cannot be read is written anew."""
    row = Watermark(f"watermark#{task}", name, until=until)
    is_new = save_if(row, Watermark.task.does_not_exist() | (Watermark.until < until))
    if not is_new and watermark(task, name) == LONG_AGO:
        row.save()


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


def kept_until() -> datetime:
    """Until when a row is kept that a run needs for itself: as long as the ledger knows the run."""
    return datetime.now(UTC) + ledger.KEPT


def keys(task: str, run_id: str) -> list[str]:
    """The partitions of the table of runs that hold a run's plan and parts, and what those were split into."""
    found = [_key(task, run_id)]
    split = [(found[0], 0)]
    while split:
        key, first = split.pop()
        for row in SweepPart.query(key, SweepPart.number.startswith("part#"), SweepPart.splits > 0):
            number = first + int(row.number.removeprefix("part#"))
            found.append(_key(task, run_id, number))
            split.append((found[-1], _below(number, 0, 0)))
    return found


def _plan(run: Run, plan: Callable[[], Sequence[Json]], finish: Callable[[list[Tally]], R]) -> R | InParts:
    key = _key(run.task.name, run.id)
    try:
        sweep = SweepRun.get(key, "run", consistent_read=True)
    except SweepRun.DoesNotExist:
        specs = plan()
        if len(specs) > MOST_PARTS:
            raise ValueError(f"the plan has {len(specs)} parts; a run has at most {MOST_PARTS}") from None
        expires = kept_until()
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


@dataclass(frozen=True, slots=True)
class _Steps:
    """What `in_parts` is told of a task."""

    work: Work
    merge: Callable[[Iterable[Tally]], Tally]
    finish: Callable[[list[Tally]], Any]
    hops: int


def _do(run: Run, number: int, steps: _Steps) -> PartDone | InParts:
    part = _part(run, number)
    if not part.done:
        outcome = _work(run, part, number, steps)
        if isinstance(outcome, InParts):
            return outcome
        # What it was to do may name users, and is kept no longer than it is needed.
        done = [SweepPart.done.set(True), SweepPart.spec.remove(), SweepPart.cursor.remove()]
        part.update(actions=[SweepPart.tally.set(as_json(outcome)), *done])
    if number >= MOST_PARTS:
        return _join(run, part, number, steps)
    sweep = SweepRun(part.sweep)
    sweep.update(actions=[SweepRun.pending.delete({number})], condition=SweepRun.sweep.exists())
    if not sweep.pending and not sweep.finished:
        result = _sum_up(sweep, steps.finish)
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


def _work(run: Run, part: SweepPart, number: int, steps: _Steps) -> Tally | InParts:
    """Do a part, or go on with it; what it has counted, or `InParts` where it is not done."""
    tally, split = part.tally or {}, None if part.split is None else int(part.split)
    if split is None:
        outcome = steps.work(part.spec, part.cursor, tally)
    else:
        others = SweepRun.get(_key(run.task.name, run.id, number), _split(split), consistent_read=True)
        if others.pending:
            _send(run, [_below(number, split, int(other)) for other in sorted(others.pending)])
            return InParts(len(others.pending))
        first = split * MOST_PARTS
        numbers = SweepPart.number.between(_number(first), _number(first + int(others.parts) - 1))
        rows = SweepPart.query(_key(run.task.name, run.id, number), numbers, consistent_read=True)
        tally = steps.merge(chain([tally], (row.tally for row in rows)))
        outcome = tally if part.cursor is None else steps.work(part.spec, part.cursor, tally)
    if isinstance(outcome, Split):
        if part.hops < steps.hops:
            return _send_others(run, part, number, outcome)
        if outcome.resume is None:
            raise RuntimeError(f"part {number} of {run.id} is at the end of a chain of {steps.hops} messages")
        outcome = Unfinished(outcome.resume, outcome.tally)
    if isinstance(outcome, Unfinished):
        return _send_on(run, part, number, outcome, steps.hops)
    return outcome


def _send_others(run: Run, part: SweepPart, number: int, split: Split) -> InParts:
    """Split a part: plan and send the parts that do what is left of it.

    Each attempt has numbers of its own, so that one that was cut off, or goes on beside it, changes nothing of it.
    """
    if len(split.parts) > MOST_PARTS:
        raise ValueError(f"part {number} is split into {len(split.parts)} parts; it may be into {MOST_PARTS}")
    before = part.split
    part.update(actions=[SweepPart.splits.add(1)])
    attempt = int(part.splits) - 1
    if attempt >= MOST_SPLITS:
        raise RuntimeError(f"part {number} of {run.id} has been split {MOST_SPLITS} times and is not done")
    key, expires = _key(run.task.name, run.id, number), kept_until()
    with SweepPart.batch_write() as batch:
        for other, spec in enumerate(split.parts):
            name = _number(attempt * MOST_PARTS + other)
            batch.save(SweepPart(key, name, spec=as_json(spec), hops=int(part.hops) + 1, expires=expires))
    pending = set(range(len(split.parts))) or None
    SweepRun(
        key, _split(attempt), parts=len(split.parts), pending=pending, started=datetime.now(UTC), expires=expires
    ).save()
    actions = [SweepPart.split.set(attempt), SweepPart.tally.set(as_json(split.tally))]
    actions.append(SweepPart.cursor.remove() if split.cursor is None else SweepPart.cursor.set(as_json(split.cursor)))
    # Else a duplicate of this part has split it, or has done it.
    if not update_if(part, actions, as_read(SweepPart.split, before) & (SweepPart.done == False)):  # noqa: E712
        raise NotYet(f"part {number} of {run.id} is being done by another delivery")
    if not split.parts:
        raise NotYet(f"part {number} of {run.id} is split into none, and goes on")
    _send(run, [_below(number, attempt, other) for other in range(len(split.parts))])
    return InParts(len(split.parts))


def _join(run: Run, part: SweepPart, number: int, steps: _Steps) -> PartDone | InParts:
    """Take a part off those that another was split into; whoever does so with the last lets that one go on."""
    above, rest = divmod(number, _RADIX)
    above, (attempt, other) = above - 1, divmod(rest, MOST_PARTS)
    others = SweepRun(_key(run.task.name, run.id, above), _split(attempt))
    others.update(actions=[SweepRun.pending.delete({other})], condition=SweepRun.sweep.exists())
    if not others.pending:
        upper = _part(run, above)
        if upper.done or (upper.split == attempt and upper.cursor is None):
            if upper.hops < part.hops:  # the one above it goes on in this chain
                upper.update(actions=[SweepPart.hops.set(part.hops)])
            _do(run, above, steps)  # where it is done, it may have been cut off before it said so to the one above it
        elif upper.split == attempt:
            upper.update(actions=[SweepPart.hops.set(max(upper.hops, part.hops + 1))])
            _send(run, [above])
    return PartDone(number, part.tally)


def _part(run: Run, number: int) -> SweepPart:
    """What a part is to do, and how far it has come."""
    if number >= MOST_PARTS:
        keys, number_of_key = [_key(run.task.name, run.id, number // _RADIX - 1)], number % _RADIX
    else:  # under the second key, it was planned by a version before this one
        keys, number_of_key = [_key(run.task.name, run.id), f"sweep#{run.id}"], number
    for key in keys:
        try:
            return SweepPart.get(key, _number(number_of_key), consistent_read=True)
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
            SweepPart.split.remove(),
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


_RADIX = MOST_PARTS * MOST_SPLITS
"""Parts into which one may be split, over all attempts. Below part 3, the others are numbered from 4 x this on."""


def _below(number: int, attempt: int, other: int) -> int:
    """The number of a part into which another is split. Those of a plan are below 1,000, so each is of one part."""
    return (number + 1) * _RADIX + attempt * MOST_PARTS + other


def _key(task: str, run_id: str, above: int | None = None) -> str:
    """Of a run's rows, or of those of the parts into which one is split.

    A run's id is its own among its task's runs only, as whoever sends a message names it.
    """
    return f"{task}#sweep#{run_id}" if above is None else f"{task}#split {above}#{run_id}"


def _split(attempt: int) -> str:
    return f"split#{attempt:02}"


def _number(number: int) -> str:
    return f"part#{number:04}"
