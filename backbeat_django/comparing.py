"""The diff: whether both sides have the same rows, and the application the tasks' results; the proof of the bridge.

It goes through the application's rows (all, or a sample) and compares each with ours by the code that the relay and the
pull write with; and through ours, for rows that the application has no more. What is on its way is no difference: carry
over and pull first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pynamodb.models import Model

from backbeat.models import Report, TrendingHashtags
from backbeat_django import mirror, pulling
from backbeat_django.mapping import SHADOWED, Kind, follow, mapping
from backbeat_django.outbox import Key
from backbeat_django.relay import aws
from backbeat_django.rows import MODELS, Attributes, Fault, as_time, read, rows

PAGE = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """A row on which the sides differ.

    Attributes:
        kind: Its kind.
        key: Its key.
        what: `not in Backbeat`, `gone from Django`, or the fields that differ, each with both values.
        result: Whether it is the application that lacks a task's result.
        fields: The fields that differ, where both sides have the row.
    """

    kind: str
    key: Key
    what: str
    result: bool = False
    fields: tuple[str, ...] = ()


def differences(kinds: list[str], sample: int | None = None) -> Iterator[Difference]:
    """The rows on which the sides differ, kind by kind.

    Args:
        kinds: Which kinds.
        sample: How many rows of each kind are compared; all where it is not given, and ours as well.
    """
    for name in kinds:
        kind = mapping()[name]
        for part in _pages(kind, sample):
            yield from _compare(kind, part)
        if sample is None:
            yield from _gone(kind)


def tally(found: Iterable[Difference]) -> dict[str, Counter[str]]:
    """By kind, how many rows differ in which field, and how many only one side has."""
    counted: dict[str, Counter[str]] = {}
    for each in found:
        counted.setdefault(each.kind, Counter()).update(each.fields or (each.what,))
    return counted


def counts(kinds: list[str]) -> dict[str, tuple[int, int]]:
    """How many rows of each kind the application has, and how many Backbeat; this reads all of Backbeat's keys."""
    found = {}
    for name in kinds:
        kind = mapping()[name]
        found[name] = (_theirs(kind), sum(1 for _ in _ours(kind)))
    return found


def _theirs(kind: Kind) -> int:
    """How many rows of a kind the application has, those of one key once."""
    if kind.holds_bare_ids:
        return len({key for page in _pages(kind, None) for key in page})
    keys = [kind.fields.get(part, part) for part in ("post", "user")] if kind.name == "like" else ["pk"]
    return int(kind.rows.order_by().values(*keys).distinct().count())


def _pages(kind: Kind, sample: int | None) -> Iterator[dict[Key, Attributes]]:
    """The application's rows, a page at a time."""
    if sample is not None:
        pks = list(kind.rows.order_by("?").values_list("pk", flat=True)[:sample])
        for start in range(0, len(pks), PAGE):
            yield rows(kind, kind.rows.filter(pk__in=pks[start : start + PAGE]), [])
        return
    last: Any = None
    while True:
        query = kind.rows.order_by("pk")
        page = list((query if last is None else query.filter(pk__gt=last)).values_list("pk", flat=True)[:PAGE])
        if not page:
            return
        last = page[-1]
        faults: list[Fault] = []
        yield rows(kind, kind.rows.filter(pk__in=page), faults)


def _compare(kind: Kind, wanted: dict[Key, Attributes]) -> Iterator[Difference]:
    """Compare a page of the application's rows with ours."""
    with aws():
        there = mirror.fetch(kind.name, list(wanted))
    spared = pulling.spared(kind.name, [key for key in wanted if key not in there])
    for key, attributes in wanted.items():
        if key not in there:
            if key not in spared:
                yield Difference(kind.name, key, "not in Backbeat")
            continue
        differ = mirror.differences(kind.name, attributes, there[key])
        if differ:
            what = "; ".join(
                f"{name}: {value!r}, in Backbeat {getattr(there[key], name)!r}" for name, value in differ.items()
            )
            yield Difference(kind.name, key, what, fields=tuple(differ))
    if kind.results and kind.name in ("user", "post"):
        yield from _results(kind, there)


def _results(kind: Kind, there: dict[Key, Model]) -> Iterator[Difference]:
    """Compare the results that the application has with ours."""
    theirs = {(str(row.pk),): row for row in kind.rows.filter(pk__in=[key[0] for key in there])}
    for key, row in theirs.items():
        lacks = pulling.missing(kind, there[key], row)
        if lacks:
            what = "; ".join(f"{name}: {getattr(row, name)!r}, in Backbeat {value!r}" for name, value in lacks.items())
            yield Difference(kind.name, key, what, result=True, fields=tuple(lacks))


def _ours(kind: Kind) -> Iterator[Key]:
    """The keys of all our rows of a kind."""
    model = MODELS[kind.name]
    names = [name for name in (model._hash_keyname, model._range_keyname) if name]
    with aws():
        for row in model.scan(attributes_to_get=names):
            key = tuple(getattr(row, name) for name in names)
            is_ban = kind.name in ("token", "ban") and key[1].startswith("ban#")
            if is_ban != (kind.name == "ban"):
                continue
            yield (key[0], key[1].removeprefix("ban#")) if is_ban else key


def _gone(kind: Kind) -> Iterator[Difference]:
    """Find our rows that the application has no more."""
    page: list[Key] = []

    def missing() -> Iterator[Difference]:
        found = read(kind, page)
        yield from (Difference(kind.name, key, "gone from Django") for key in page if key not in found)

    for key in _ours(kind):
        page.append(key)
        if len(page) == PAGE:
            yield from missing()
            page = []
    if page:
        yield from missing()


def repair(found: list[Difference], now: datetime) -> Counter[str]:
    """Make both sides the same where they differ: rows here, results there; return what was done."""
    done: Counter[str] = Counter()
    entries: dict[str, list[Key]] = {}
    results: dict[str, list[Key]] = {}
    for difference in found:
        (results if difference.result else entries).setdefault(difference.kind, []).append(difference.key)
    with aws():
        done += mirror.sync_all(entries, now)
    for kind, keys in results.items():
        for start in range(0, len(keys), PAGE):
            done["results"] += pulling.bring(kind, keys[start : start + PAGE])[kind]
    return done


@dataclass(frozen=True, slots=True)
class Compared:
    """How a task's results of both sides compare.

    Attributes:
        rows: How many rows were compared.
        differ: How many differ.
        examples: Some of those, in words.
    """

    rows: int
    differ: int
    examples: list[str]


COMPARED = {
    "update_user_statistics": ("user", ("followers_count", "following_count", "posts_count")),
    "update_post_engagement_scores": ("post", ("score",)),
}
EXAMPLES = 10


def compare(task: str) -> Compared:
    """Compare what a task wrote here with what the application has by another.

    Raises:
        LookupError: The settings name no field that takes the task's results.
    """
    if task == "update_trending_hashtags" and "trending" in mapping():
        return _compare_trending()
    if task == "generate_content_analytics":
        return _compare_reports()
    name, results = COMPARED.get(task, ("", ()))
    kind = mapping().kinds.get(name)
    mapped = {result: kind.takes(result) for result in results if kind.takes(result)} if kind else {}
    if kind is None or not mapped:
        raise LookupError(f"BACKBEAT maps no result of {task}; those that can be compared are of {', '.join(SHADOWED)}")
    number, examples, differ = 0, list[str](), 0
    for page in _pages(kind, None):
        with aws():
            there = mirror.fetch(kind.name, list(page))
        for row in kind.rows.filter(pk__in=[key[0] for key in there]):
            number += 1
            lacks = pulling.missing(kind, there[str(row.pk),], row, shadowed=True)
            wrong = {f.name: lacks[f.name] for f in mapped.values() if f is not None and f.name in lacks}
            if wrong:
                differ += 1
                examples += [
                    f"{name} {row.pk}: {field} is {getattr(row, field)!r}, in Backbeat {value!r}"
                    for field, value in wrong.items()
                ]
    return Compared(number, differ, examples[:EXAMPLES])


def _compare_trending() -> Compared:
    with aws():
        try:
            board = TrendingHashtags.get("#").tags
        except TrendingHashtags.DoesNotExist:
            board = []
    changes = pulling.hashtags_to_change(board)
    model: Any = mapping()["trending"].model
    examples = [f"{row}: {changes[row.pk]}" for row in model._base_manager.filter(pk__in=list(changes)[:EXAMPLES])]
    return Compared(mapping()["trending"].rows.count(), len(changes), examples)


REPORTS = 28
"""The newest reports that are compared."""
CREATED = {"post": "posts_created", "comment": "comments_created", "user": "users_created"}
"""The figure of a report that says how many rows of a kind are from its day."""


def _compare_reports() -> Compared:
    """Compare reports with what the application's own rows come to, day by day."""
    with aws():
        reports = list(Report.query("daily", scan_index_forward=False, limit=REPORTS))
    if not reports:
        return Compared(0, 0, [])
    since = datetime.fromisoformat(min(report.day for report in reports)).replace(tzinfo=UTC)
    counted = {figure: _created(mapping()[name], since) for name, figure in CREATED.items() if name in mapping()}
    examples = []
    for report in reports:
        its = {figure: days[report.day] for figure, days in counted.items()}
        wrong = {figure: number for figure, number in its.items() if int(report.figures[figure]) != number}
        if wrong:
            said = ", ".join(
                f"{figure} is {number}, in Backbeat {report.figures[figure]}" for figure, number in wrong.items()
            )
            examples.append(f"report {report.day}: {said}")
    return Compared(len(reports), len(examples), examples[:EXAMPLES])


def _created(kind: Kind, since: datetime) -> Counter[str]:
    """How many of the application's rows are from each UTC day."""
    path = kind.fields["created_at"]
    by_day = follow(kind.model, path)[-1].get_internal_type() == "DateField"
    rows = kind.rows.filter(**{f"{path}__gte": since.date() if by_day else pulling.as_theirs(since)})
    times = (as_time(value) for value in rows.values_list(path, flat=True))
    return Counter(str(time.date()) for time in times if time)
