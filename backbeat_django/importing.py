"""The import: all that the application has, in batches, from where it was cut off.

Into empty tables rows are written as they come, 25 to a call and on four threads. Whatever may be there already is
compared first and written where it differs, by the same code as the relay's, as a batch write replaces whole rows and
with them what the tasks wrote. So is what was on its way when an import was cut off, and every later import.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone
from pynamodb.exceptions import PynamoDBException
from pynamodb.models import Model

from backbeat.models import Activity
from backbeat_django import mirror
from backbeat_django.mapping import Kind, mapping
from backbeat_django.models import Entry, Progress
from backbeat_django.outbox import Key
from backbeat_django.relay import Busy, Writer, aws, refused
from backbeat_django.rows import MODELS, Attributes, Fault, rows

ORDER = ("user", "post", "comment", "like", "follow", "token", "ban")
CHUNK = 500
"""Rows that are read at a time."""
THREADS = 4
AHEAD = 2 * THREADS
"""Chunks that are on their way, or wait for a thread, at most."""

Told = Callable[[str, int, int], None]


@dataclass
class State:
    """How far the import of one kind has come.

    Attributes:
        done: The primary key up to which all is written.
        handed: The primary key up to which rows were handed to the threads.
        into_empty: Whether its table was empty when the import began.
        finished: Whether all was written.
        rows: How many rows were read.
        counts: What was done: `added`, `changed`, `refused`.
    """

    done: str | None = None
    handed: str | None = None
    into_empty: bool = False
    finished: bool = False
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, done: Mapping[str, int]) -> None:
        """Add to what was done."""
        self.counts = dict(Counter(self.counts) + Counter(done))


def import_all(writer: Writer, kinds: Sequence[str] = ORDER, told: Told = lambda *_: None) -> dict[str, State]:
    """Import all rows of some kinds.

    Args:
        writer: Who holds the lease.
        kinds: Which kinds; those that are not mapped are left out.
        told: Called with a kind, how many of its rows are done, and how many there are.

    Returns:
        By kind what was done since its import began.

    Raises:
        Busy: The lease is somebody else's by now.
        AwsUnavailable: AWS does not answer; what is done is known, and the next import goes on there.
    """
    todo = [kind for kind in ORDER if kind in kinds and kind in mapping()]
    states = {kind: _begun(kind) for kind in todo}
    if not any(not state.finished and state.handed for state in states.values()):  # a new import, of all
        with aws():
            empty = {kind: not any(True for _ in MODELS[kind].scan(limit=1)) for kind in todo}
        states = {kind: State(into_empty=empty[kind]) for kind in todo}
        for kind in todo:
            _save(kind, states[kind])
    for kind in todo:
        if not states[kind].finished:
            _import(writer, mapping()[kind], states[kind], told)
    return states


def _begun(kind: str) -> State:
    found = Progress.objects.using(mapping().database).filter(name=f"import {kind}").first()
    return State(**json.loads(found.state)) if found else State()


def _save(kind: str, state: State) -> None:
    progress = Progress.objects.using(mapping().database)
    progress.update_or_create(name=f"import {kind}", defaults={"state": json.dumps(asdict(state))})


def _import(writer: Writer, kind: Kind, state: State, told: Told) -> None:
    """Import what is left of one kind."""
    total = kind.rows.count()
    seen: set[tuple[str, str]] = set()
    cut_off = state.handed  # up to here rows may be there, half of them
    on_their_way: deque[tuple[str, dict[Key, Attributes], Future[bool]]] = deque()

    def settle() -> None:
        last, chunk, future = on_their_way.popleft()
        state.add(Counter(added=len(chunk)) if future.result() else _compared(kind, chunk, timezone.now()))
        state.done = last
        _save(kind.name, state)
        told(kind.name, state.rows - sum(CHUNK for _ in on_their_way), total)
        if not writer.renew():
            raise Busy("another relay or import has taken over")

    with ThreadPoolExecutor(THREADS) as threads:
        try:
            for last, chunk in _chunks(kind, state):
                again = cut_off is not None and not kind.rows.filter(pk=last, pk__gt=cut_off).exists()
                now = timezone.now()
                state.rows += len(chunk)
                if state.into_empty and not again:
                    notes = [
                        note
                        for note in mirror.activities(kind.name, chunk, now)
                        if (note.day, note.user_id) not in seen
                    ]
                    seen |= {(note.day, note.user_id) for note in notes}
                    if len(on_their_way) >= AHEAD:
                        settle()
                    state.handed = last
                    _save(kind.name, state)
                    on_their_way.append((last, chunk, threads.submit(_write, kind, chunk, notes)))
                else:
                    while on_their_way:
                        settle()
                    state.add(_compared(kind, chunk, now))
                    state.done = state.handed = last
                    _save(kind.name, state)
                    told(kind.name, state.rows, total)
                    if not writer.renew():
                        raise Busy("another relay or import has taken over")
            while on_their_way:
                settle()
        finally:
            for *_, future in on_their_way:
                future.cancel()
    state.finished = True
    state.done = state.handed = None
    _save(kind.name, state)
    told(kind.name, total, total)


def _chunks(kind: Kind, state: State) -> Iterator[tuple[str, dict[Key, Attributes]]]:
    """The rows that are left, some at a time, with the primary key of the last."""
    last: Any = state.done
    while True:
        query = kind.rows.order_by("pk")
        if last is not None:
            query = query.filter(pk__gt=last)
        page = query[:CHUNK]
        pks = list(page.values_list("pk", flat=True))
        if not pks:
            return
        last = pks[-1]
        faults: list[Fault] = []
        found = rows(kind, query.filter(pk__lte=last), faults)
        for fault in faults:
            _set_aside(kind.name, (fault.pk,), fault.why)
        state.add({"refused": len(faults)})
        yield str(last), found


def _write(kind: Kind, chunk: Mapping[Key, Attributes], notes: Sequence[Activity]) -> bool:
    """Write rows that are not there, and who was active by them; return false where one of them is refused."""
    with aws():
        if notes:
            _batch(Activity, notes)
        built = {key: mirror.build(kind.name, key, attributes) for key, attributes in chunk.items()}
        try:
            _batch(MODELS[kind.name], list(built.values()))
        except PynamoDBException as error:
            if refused(error):
                return False
            raise
    return True


def _batch(model: type[Model], items: Sequence[Model]) -> None:
    with model.batch_write() as batch:
        for item in items:
            batch.save(item)


def _compared(kind: Kind, chunk: Mapping[Key, Attributes], now: datetime) -> Counter[str]:
    """Write what differs of rows that may be there; where one is refused, all but that one."""
    try:
        with aws():
            return mirror.sync(kind, chunk, now, known=chunk)
    except (PynamoDBException, ValueError):
        if len(chunk) == 1:
            raise
    done: Counter[str] = Counter()
    for key in chunk:
        try:
            done += _compared(kind, {key: chunk[key]}, now)
        except (PynamoDBException, ValueError) as error:
            _set_aside(kind.name, key, f"{type(error).__name__}: {error}")
            done["refused"] += 1
    return done


def _set_aside(kind: str, key: Key, why: str) -> None:
    """Keep a row that Backbeat cannot have where the relay keeps those, with why."""
    entries = Entry.objects.using(mapping().database)
    entries.update_or_create(
        kind=kind, key=json.dumps(key), error__gt="", defaults={"at": timezone.now(), "error": why[:1000]}
    )
