"""The import: all that the application has, in batches, from where it was cut off.

Into empty tables rows are written as they come, 25 to a call and on four threads. Whatever may be there already is
compared first and written where it differs, by the same code as the relay's, as a batch write replaces whole rows and
with them what the tasks wrote. So is what was on its way when an import was cut off, and every later import.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from django.utils import timezone
from pynamodb.exceptions import PynamoDBException
from pynamodb.models import Model

from backbeat.models import Activity
from backbeat_django import mirror
from backbeat_django.mapping import Kind, mapping
from backbeat_django.models import Progress
from backbeat_django.outbox import Key
from backbeat_django.relay import AwsUnavailable, Busy, Writer, aws, refused, set_aside
from backbeat_django.rows import MODELS, Attributes, Fault, rows

ORDER = ("user", "post", "comment", "like", "follow", "token", "ban")
CHUNK = 1_000
"""Rows that are read at a time, and spread over the threads."""
THREADS = 4
AHEAD = 3
"""Chunks that are on their way, or wait for a thread, at most."""
RENEWED = 10
"""After how many seconds the lease is renewed."""

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
    total, noted = kind.rows.count(), set[tuple[str, str]]()
    cut_off = state.handed  # up to here rows may be there, or some of them
    on_their_way: deque[_Chunk] = deque()
    renewed = time.monotonic()

    def settle(until: int) -> None:
        """Wait until no more than so many chunks are on their way."""
        nonlocal renewed
        while len(on_their_way) > until:
            chunk = on_their_way.popleft()
            for part, written in chunk.parts:
                state.add(Counter(added=len(part)) if written.result() else _compared(kind, part, timezone.now()))
            state.rows, state.done = state.rows + chunk.rows, chunk.last
            told(kind.name, state.rows, total)
            if time.monotonic() - renewed > RENEWED:
                renewed = time.monotonic()
                if not writer.renew():
                    raise Busy("another relay or import has taken over")

    with ThreadPoolExecutor(THREADS) as threads:
        try:
            for last, rows_of_it in _chunks(kind, state):
                now = timezone.now()
                known_to_be_new = state.into_empty and (
                    cut_off is None or kind.rows.filter(pk=last, pk__gt=cut_off).exists()
                )
                settle(AHEAD - 1 if known_to_be_new else 0)
                state.handed = last
                _save(kind.name, state)
                if known_to_be_new:
                    new = mirror.activities(kind.name, rows_of_it, now, noted)
                    noted |= {(note.day, note.user_id) for note in new}
                    parts = list(zip(_dealt(rows_of_it), (new[n::THREADS] for n in range(THREADS)), strict=True))
                    written = [(part, threads.submit(_write, kind, part, its)) for part, its in parts]
                    on_their_way.append(_Chunk(last, len(rows_of_it), written))
                else:
                    state.add(_compared(kind, rows_of_it, now))
                    state.rows, state.done = state.rows + len(rows_of_it), last
                    told(kind.name, state.rows, total)
            settle(0)
        finally:
            for chunk in on_their_way:
                for _, future in chunk.parts:
                    future.cancel()
            _save(kind.name, state)
    state.finished = True
    state.done = state.handed = None
    _save(kind.name, state)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows that are on their way: the last one's primary key, how many they are, and what each thread has of them."""

    last: str
    rows: int
    parts: Sequence[tuple[dict[Key, Attributes], Future[bool]]]


def _dealt(chunk: Mapping[Key, Attributes]) -> list[dict[Key, Attributes]]:
    """Rows, dealt to the threads."""
    items = list(chunk.items())
    return [dict(items[number::THREADS]) for number in range(THREADS)]


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
            set_aside(kind.name, (fault.pk,), fault.why)
        state.add({"refused": len(faults)})
        yield str(last), found


def _write(kind: Kind, chunk: Mapping[Key, Attributes], notes: Sequence[Activity]) -> bool:
    """Write rows that are not there, and who was active by them; return false where one of them is refused."""
    with aws():
        if notes:
            _batch(Activity, [note.to_dynamodb_dict() for note in notes])
        items = [mirror.item(kind.name, key, attributes) for key, attributes in chunk.items()]
        try:
            _batch(MODELS[kind.name], items)
        except ClientError as error:
            if refused(error):
                return False
            raise
    return True


@cache
def _client() -> Any:
    """A client that sends a batch as it is given: what `mirror.item` makes is DynamoDB's own JSON.

    To check it and to write it anew, attribute by attribute, would take most of all the time.
    """
    retries: Any = {"mode": "standard", "total_max_attempts": 4}
    client = boto3.client(
        "dynamodb", config=Config(connect_timeout=2, read_timeout=5, retries=retries, parameter_validation=False)
    )
    keep_body: Any = _keep_body  # what it returns takes the parameters' place, which boto3's stubs do not know
    client.meta.events.register("provide-client-params.dynamodb.BatchWriteItem", keep_body)
    client.meta.events.register("before-call.dynamodb.BatchWriteItem", _send_body)
    return client


def _keep_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    context["backbeat_body"] = json.dumps(params).encode()
    return {"RequestItems": {}}


def _send_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = context["backbeat_body"]


def _batch(model: type[Model], items: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, 25 to a call, and what DynamoDB leaves over after a while again.

    Raises:
        AwsUnavailable: DynamoDB keeps leaving rows over.
    """
    table = model.Meta.table_name
    left = [{"PutRequest": {"Item": item}} for item in items]
    for wait in (0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4):
        time.sleep(wait)
        over: list[Any] = []
        for start in range(0, len(left), 25):
            answer = _client().batch_write_item(RequestItems={table: left[start : start + 25]})
            over += answer.get("UnprocessedItems", {}).get(table, [])
        if not over:
            return
        left = over
    raise AwsUnavailable(f"{table} keeps leaving rows over: it is written to faster than it takes")


def _compared(kind: Kind, chunk: Mapping[Key, Attributes], now: datetime) -> Counter[str]:
    """Write what differs of rows that may be there; where some are refused, all but those."""
    try:
        with aws():
            return mirror.sync(kind, chunk, now, known=chunk)
    except (PynamoDBException, ValueError) as error:
        if len(chunk) == 1:
            (key,) = chunk
            set_aside(kind.name, key, f"{type(error).__name__}: {error}")
            return Counter(refused=1)
    done: Counter[str] = Counter()
    for key, attributes in chunk.items():
        done += _compared(kind, {key: attributes}, now)
    return done
