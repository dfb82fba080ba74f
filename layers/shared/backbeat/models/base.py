"""What all models share: time-outs, rows that cannot be read, writes on a condition, and transactions."""

import itertools
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self, TypeVar

import pynamodb.connection.base
from botocore.config import Config
from pynamodb.connection import Connection
from pynamodb.exceptions import DeleteError, PutError, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from backbeat.aws import models_client


class _Session:
    """What PynamoDB takes for a botocore session, of which it makes one, and with it a client, for each model.

    A session of its own would read DynamoDB's description anew, and a client takes 20 ms of processor time to be made.
    All models that are in one place share one, as they all ask in one manner (`Table`).
    """

    def create_client(self, _: str, region: str | None, *, endpoint_url: str | None, config: Config) -> Any:
        """The client of the models there, made for the first of them."""
        return models_client(region, endpoint_url, config)


pynamodb.connection.base.get_session = _Session  # type: ignore[assignment, attr-defined]


class Table:
    """What every model's Meta shares: timeouts that fit inside a function's."""

    connect_timeout_seconds = 2
    read_timeout_seconds = 5
    max_retry_attempts = 3


class Unreadable(ValueError):
    """A row holds what no row of its table may; the text names its table, its key and what is wrong."""


class Row(Model):
    """A row of any table."""

    @classmethod
    def from_raw_data(cls, data: dict[str, Any]) -> Self:
        """A row from what DynamoDB holds.

        Raises:
            Unreadable: An attribute is of another type, or holds what its type does not.
        """
        try:
            return super().from_raw_data(data)
        except (TypeError, ValueError, OverflowError) as error:
            keys = (cls._hash_key_attribute(), cls._range_key_attribute())
            names = [key.attr_name for key in keys if key and key.attr_name in data]
            raise Unreadable(f"{cls.__name__} {_named(data, names)} cannot be read: {error}") from error


def _named(data: dict[str, Any], names: Sequence[str]) -> str:
    """A row's key in words."""
    return ", ".join(repr(value) for name in names for value in data[name].values())


Broken = Callable[[Unreadable], object]
"""What is told of a row that cannot be read."""
M = TypeVar("M", bound=Row)
PAGE = 100
"""Rows that are read at once: as many as one BatchGetItem reads."""


def say(error: Unreadable) -> None:
    """Say of a row that it cannot be read: on stderr, unless a program has set up its log otherwise."""
    logging.getLogger("backbeat").warning("%s", error)


def readable(
    model: type[M],
    keys: Iterable[Any],
    broken: Broken = say,
    *,
    needs: Sequence[str] = (),
    consistent_read: bool = False,
    attributes_to_get: Sequence[str] | None = None,
) -> Iterator[M]:
    """Rows by their keys, without those that cannot be read: one broken row is not everybody's.

    Args:
        model: The table.
        keys: The rows' keys; those that are not there are left out.
        broken: Told of each row that cannot be read.
        needs: Attributes without which a row is of no use.
        consistent_read: Whether what was written just now is seen.
        attributes_to_get: Read these alone; all where they are not given.
    """

    def read(page: list[Any]) -> list[M]:
        try:
            return list(model.batch_get(page, consistent_read=consistent_read, attributes_to_get=attributes_to_get))
        except Unreadable as error:
            if len(page) == 1:
                broken(error)
                return []
            half = len(page) // 2
            return read(page[:half]) + read(page[half:])

    left = iter(dict.fromkeys(keys))
    while page := list(itertools.islice(left, PAGE)):
        yield from _with(needs, read(page), broken)


def each(rows: Iterator[M], broken: Broken = say, *, needs: Sequence[str] = ()) -> Iterator[M]:
    """The rows that a query or a scan finds, without those that cannot be read; see `readable`."""

    def read() -> Iterator[M]:
        while True:
            try:
                yield next(rows)
            except StopIteration:
                return
            except Unreadable as error:
                broken(error)  # PynamoDB goes on with the row that follows

    return _with(needs, read(), broken)


def _with(needs: Sequence[str], rows: Iterable[M], broken: Broken) -> Iterator[M]:
    """Those of some rows that have what is needed of them."""
    for row in rows:
        lacking = [name for name in needs if getattr(row, name) is None]
        if lacking:
            keys = [getattr(row, name) for name in (row._hash_keyname, row._range_keyname) if name]
            named = ", ".join(map(repr, keys))
            broken(Unreadable(f"{type(row).__name__} {named} cannot be read: it has no {', '.join(lacking)}"))
        else:
            yield row


class Made(Row):
    """A row that a model's `new` makes, and an application saves again whenever it mirrors its own."""

    _began: dict[str, Any] | None = None

    def made_of(self, given: Collection[str]) -> Self:
        """Note what was not given, but only begins with the value that the row has now."""
        self._began = {name: getattr(self, name) for name in self.get_attributes() if name not in given}
        return self

    def save(self, condition: Condition | None = None, *, add_version_condition: bool = True) -> dict[str, Any]:
        """Save the row. If it was made by `new` and is there already, what was not given stays as it is.

        So what the tasks have written, such as a post's renditions or an address that bounces, outlives that an
        application saves its own row again. A batch write knows no such thing, and replaces the row whole.
        """
        if self._began is None:
            return super().save(condition, add_version_condition=add_version_condition)
        actions: list[Action] = []
        for name, attribute in self.get_attributes().items():
            if attribute.is_hash_key or attribute.is_range_key:
                continue
            value = getattr(self, name)
            only_begins = name in self._began and self._began[name] is value
            if value is not None:
                actions.append(attribute.set(attribute | value if only_begins else value))
            elif not only_begins:
                actions.append(attribute.remove())
        written: dict[str, Any] = self.update(actions, condition)
        return written


MOST_TRIES = 10
"""How often a transaction that meets others is tried."""


def save_if(row: Model, condition: Condition) -> bool:
    """Save a row if a condition holds of what is there; return whether it did."""
    return _took_place(lambda: row.save(condition))


def update_if(row: Model, actions: Sequence[Action], condition: Condition) -> bool:
    """Update a row, and read it back, if a condition holds of what is there; return whether it did."""
    return _took_place(lambda: row.update(actions=list(actions), condition=condition))


def delete_if(row: Model, condition: Condition) -> bool:
    """Delete a row if a condition holds of what is there; return whether it did."""
    return _took_place(lambda: row.delete(condition))


def _took_place(write: Callable[[], object]) -> bool:
    """Whether a write took place; it did not where its condition did not hold, and fails for any other reason."""
    try:
        write()
    except (PutError, UpdateError, DeleteError) as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    return True


@cache
def connection() -> Connection:
    """The process's connection for transactions, which belong to no one table."""
    return Connection(
        connect_timeout_seconds=Table.connect_timeout_seconds,
        read_timeout_seconds=Table.read_timeout_seconds,
        max_retry_attempts=Table.max_retry_attempts,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """Of `write_together`: write nothing, but let the rest take place only if a condition holds of a row."""

    model: type[Model]
    key: str
    condition: Condition
    range_key: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Delete:
    """Of `write_together`: delete a row, if a condition holds of it."""

    row: Model
    condition: Condition


@dataclass(frozen=True, slots=True, eq=False)
class Save:
    """Of `write_together`: save a row, if a condition holds of what is there."""

    row: Model
    condition: Condition | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """Of `write_together`: update a row, if a condition holds of it."""

    row: Model
    actions: Sequence[Action]
    condition: Condition


Write = Check | Delete | Save | Update


def write_together(*writes: Write) -> list[Write]:
    """Write several rows in one transaction, all or none.

    A transaction that meets another one on the same row is tried up to ten times, as DynamoDB refuses it rather
    than wait.

    Returns:
        The writes whose conditions did not hold, and then nothing was written; none of them where all was.

    Raises:
        TransactWriteError: It failed for any reason but a condition.
    """
    in_order = sorted(writes, key=lambda write: _ORDER.index(type(write)))
    for attempt in itertools.count(1):
        try:
            with TransactWrite(connection=connection()) as transaction:
                for write in in_order:
                    _add(write, transaction)
        except TransactWriteError as error:
            codes = [reason.code if reason else "None" for reason in error.cancellation_reasons]
            if "ConditionalCheckFailed" in codes and set(codes) <= {"ConditionalCheckFailed", "None"}:
                return [write for write, code in zip(in_order, codes, strict=True) if code != "None"]
            if "TransactionConflict" not in codes or attempt == MOST_TRIES:
                raise
            time.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311 - a spread, not a secret
        else:
            break
    return []


def _add(write: Write, transaction: TransactWrite) -> None:
    match write:
        case Check(model, key, condition, range_key):
            transaction.condition_check(model, key, range_key, condition=condition)
        case Delete(row, condition):
            transaction.delete(row, condition)
        case Save(row, perhaps):
            transaction.save(row, perhaps)
        case Update(row, actions, condition):
            transaction.update(row, list(actions), condition)


_ORDER = (Check, Delete, Save, Update)
"""The order in which PynamoDB hands a transaction's writes to DynamoDB, which gives its reasons in that order."""


def delete_counted(deletion: Delete, *counts: Update) -> bool:
    """Delete a row and change the counts that hold it, but for one that is gone itself; return whether it was there."""
    wanted = list(counts)
    while unmet := write_together(deletion, *wanted):
        if deletion in unmet:
            return False
        wanted = [count for count in wanted if count not in unmet]
    return True


def delete_all(model: type[Model], rows: Iterable[Model]) -> int:
    """Delete rows of one table; return how many."""
    all_rows = list(rows)
    with model.batch_write() as batch:
        for row in all_rows:
            batch.delete(row)
    return len(all_rows)
