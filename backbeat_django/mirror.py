"""One row at a time, Backbeat is made to have what the application has; relay, import and repair all do it here.

Nothing is added to or counted on: each row is read as it is now, compared with ours, and written where it differs. So
all of it may be repeated, come late or in another order, and a repetition writes nothing. What the tasks write into the
same rows (scores, counts, media, ...) is never touched.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from pynamodb.models import Model

from backbeat.app.erasing import erase
from backbeat.models import (
    ACTIVITY_KEPT,
    Activity,
    Changed,
    Comment,
    DayCounts,
    Follow,
    Like,
    Post,
    Token,
    User,
    day_key,
    delete_all,
    readable,
    update_if,
)
from backbeat_django.mapping import Kind, mapping
from backbeat_django.outbox import NOBODY, Key, Watched
from backbeat_django.rows import MODELS, Attributes, activity, ours_of, read

Said = Mapping[Key, frozenset[str]]
"""Which of the fields that tasks write as well the application has changed itself, by row."""

COUNTS = ("likes_count", "comments_count", "shares_count", "views_count")
ORDER = ("post", "comment", "like", "follow", "token", "ban", "user")
"""In which order rows are synced: whoever is gone, and so erased with all of theirs, comes last."""
USER_COUNTS = ("followers_count", "following_count", "posts_count")
_SETTLED = {
    "user": USER_COUNTS,
    "token": ("due_day", "created_at", "kind", "family"),
    "ban": ("due_day", "created_at", "expires_at"),
    "like": ("created_at",),
    "follow": ("created_at",),
}
"""What is not compared: counts go with the rows they count, the clean-up moves due days on, the rest never changes."""


def sync(
    kind: Kind,
    keys: Iterable[Key],
    now: datetime,
    said: Said | None = None,
    known: Mapping[Key, Attributes] | None = None,
) -> Counter[str]:
    """Make Backbeat's rows of some keys what the application's are; return how many were `added`, `changed`, `removed`.

    Args:
        kind: The kind of rows.
        keys: Their keys.
        now: The time, for the marks by which nightly tasks find what has changed.
        said: What the application changed itself, where tasks write the same field.
        known: The application's rows of these keys, where they were read just now.
    """
    todo = list(dict.fromkeys(keys))
    done: Counter[str] = Counter()
    for start in range(0, len(todo), 100):
        part = todo[start : start + 100]
        wanted, there = read(kind, part) if known is None else known, fetch(kind.name, part)
        add = {key: wanted[key] for key in part if key in wanted and key not in there}
        gone = {key: there[key] for key in part if key in there and key not in wanted}
        change = {
            key: changes
            for key in part
            if key in there
            and key in wanted
            and (changes := differences(kind.name, wanted[key], there[key], (said or {}).get(key, frozenset())))
        }
        _note_activity(kind.name, add, now)  # first: cut off in between, a repetition finds the rows still to be added
        put(kind.name, add, now)
        for key, changes in change.items():
            done["changed"] += _change(kind.name, there[key], changes, now)
        remove(kind.name, list(gone.values()), now)
        done.update(added=len(add), removed=len(gone))
        if kind.name in ("token", "ban"):  # simplejwt keeps those of a user who is gone, as nobody's
            done += sync(kind, [(NOBODY, key[1]) for key in part if key not in wanted and key[0] != NOBODY], now)
        if kind.name == "post" and known is None:
            done += _what_is_about(add, now)
        # Of an entry all are counted again, as an earlier try may have been cut off after the row.
        counted = part if known is None else [*add, *gone, *change]
        _count_users(_counted_on(kind.name, counted, wanted, there), now)
    return done


def _what_is_about(posts: Iterable[Key], now: datetime) -> Counter[str]:
    """Sync the comments and likes of posts that were added.

    Those of a post that had been taken back went with it, and nothing else says that they are to come again.
    """
    done: Counter[str] = Counter()
    ids = [key[0] for key in posts]
    for name in ("comment", "like"):
        if ids and name in mapping():
            kind = mapping()[name]
            done += sync(kind, Watched.of(kind).keys(kind.rows.filter(**{f"{kind.fields['post']}__in": ids})), now)
    return done


def _counted_on(kind: str, keys: Iterable[Key], wanted: Mapping[Key, Attributes], there: Mapping[Key, Any]) -> set[str]:
    """The users on whose counts some rows count."""
    match kind:
        case "follow":
            return {user_id for key in keys for user_id in key}
        case "post":
            now = {wanted[key]["author_id"] for key in keys if key in wanted}
            return now | {there[key].author_id for key in keys if key in there}
    return set()


def _count_users(user_ids: Iterable[str], now: datetime) -> None:
    """Make users' counts what the application's rows come to, and mark who has another count than before."""
    keys = [(user_id,) for user_id in sorted(set(user_ids))]
    wanted = read(mapping()["user"], keys)
    for key, user in fetch("user", list(wanted)).items():
        counts: Attributes = {name: wanted[key][name] for name in USER_COUNTS if name in wanted[key]}
        differ = {name: count for name, count in counts.items() if getattr(user, name) != count}
        if differ:
            Changed.note("user", key[0])  # the application may show them
            _change("user", user, differ, now)


def fetch(kind: str, keys: Sequence[Key]) -> dict[Key, Model]:
    """Backbeat's rows of some keys, as they are now."""
    model = MODELS[kind]
    hash_name, range_name = model._hash_keyname, model._range_keyname
    ours = {ours_of(kind, key): key for key in keys}
    found: dict[Key, Model] = {}
    for row in readable(model, ours, consistent_read=True):  # one that cannot be read is written anew
        its = getattr(row, hash_name or "")
        found[ours[(its, getattr(row, range_name)) if range_name else its]] = row
    return found


def build(kind: str, key: Key, attributes: Attributes) -> Model:
    """A row of ours that is not there yet."""
    its = ours_of(kind, key)
    held = {name: value for name, value in attributes.items() if value is not None}
    return MODELS[kind](*(its if isinstance(its, tuple) else (its,)), **held)


def item(kind: str, key: Key, attributes: Attributes) -> dict[str, Any]:
    """The same row as DynamoDB takes it: what `build(...).to_dynamodb_dict()` says, in a tenth of the time."""
    its = ours_of(kind, key)
    names = _keys(MODELS[kind])
    held = dict(_defaults(MODELS[kind]))
    for name, value in zip(names, its if isinstance(its, tuple) else (its,), strict=True):
        held[name] = {"S": value}
    for name, value in attributes.items():
        match value:
            case None:
                pass
            case str():
                held[name] = {"S": value}
            case bool():
                held[name] = {"BOOL": value}
            case datetime():
                text = value.astimezone(UTC).isoformat(timespec="microseconds")
                held[name] = {"S": text.replace("+00:00", "+0000")}
            case set():
                held[name] = {"SS": sorted(value)}
            case _:
                held[name] = {"N": str(value)}
    return held


@cache
def _keys(model: type[Model]) -> list[str]:
    return [name for name in (model._hash_keyname, model._range_keyname) if name]


@cache
def _defaults(model: type[Model]) -> dict[str, Any]:
    """What a row of a model holds that is told nothing."""
    return model().to_dynamodb_dict()


def put(kind: str, rows: Mapping[Key, Attributes], now: datetime) -> None:
    """Add rows that are not there, marked as touched: what comes late is looked for at its own day no more."""
    if not rows:
        return
    with MODELS[kind].batch_write() as batch:
        for key, attributes in rows.items():
            row: Any = build(kind, key, attributes)
            if isinstance(row, Post):
                row.touched_day = day_key(now, row.post_id)
            elif isinstance(row, User):
                row.touched_at, row.touched_day = now, day_key(now, row.user_id)
                if row.followers_count or row.following_count or row.posts_count:
                    Changed.note("user", row.user_id)
            elif isinstance(row, Token) and row.expires_at and row.expires_at < now:
                row.due_day = day_key(now, row.token_id)
            batch.save(row)


def differences(kind: str, wanted: Attributes, there: Model, said: frozenset[str] = frozenset()) -> Attributes:
    """What a row of ours has to change for; nothing of it where it is as it should be."""
    differ = {
        name: value
        for name, value in wanted.items()
        if name not in _SETTLED.get(kind, ()) and not _same(value, getattr(there, name))
    }
    if kind == "user" and "digest" in differ and differ["digest"] and "digest" not in said:
        del differ["digest"]  # they unsubscribed, and the application does not know yet
    if isinstance(there, Post) and there.hidden_at and "visibility" in differ and "visibility" not in said:
        del differ["visibility"]  # it was hidden, and the application does not know yet
    return differ


def _same(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, (set, frozenset)) or isinstance(there, (set, frozenset)):
        return set(wanted or ()) == set(there or ())
    return bool(wanted == there)


def _change(kind: str, row: Any, changes: Attributes, now: datetime) -> int:
    """Write what differs into a row of ours; return 1, or 0 where it has gone meanwhile."""
    model, more = type(row), Attributes()
    if isinstance(row, User) and "email" in changes:
        more |= {"email_status": "ok", "soft_bounces": None}
    if isinstance(row, User) and set(changes) & set(USER_COUNTS):
        more |= {"touched_at": now, "touched_day": day_key(now, row.user_id)}
    if isinstance(row, Post):
        if set(changes) & {*COUNTS, "legal_hold"}:
            more["touched_day"] = day_key(now, row.post_id)
        if "visibility" in changes and row.hidden_at:
            more |= {"hidden_at": None, "hidden_day": None, "hidden_from": None}
    if kind == "token" and changes.get("expires_at"):
        more["due_day"] = day_key(max(changes["expires_at"], now), row.token_id)
    actions: Any = []
    for name, value in {**changes, **more}.items():
        attribute = getattr(model, name)
        actions.append(attribute.remove() if value is None else attribute.set(value))
    if "created_at" in changes and kind in ("user", "post", "comment"):
        DayCounts.mark([row.day, changes.get("day")])
    there = getattr(model, model._hash_keyname or "").exists()
    return int(update_if(row, actions, there))


def remove(kind: str, rows: Sequence[Any], now: datetime) -> None:
    """Delete rows of ours that the application has no more, with all that belongs to them."""
    if not rows:
        return
    if kind == "user":
        for row in rows:
            erase(row.user_id, at=now)
        return
    if kind == "post":
        for row in rows:
            Post.remove(row.post_id, at=now)
        return
    if kind == "comment":
        DayCounts.mark([row.day for row in rows])
    delete_all(MODELS[kind], rows)


def _note_activity(kind: str, rows: Mapping[Key, Attributes], now: datetime) -> None:
    """Note who was active by rows that are added, as far back as that is kept; before them, so that none is missed."""
    notes = activities(kind, rows, now)
    if notes:
        with Activity.batch_write() as batch:
            for note in notes:
                batch.save(note)


def activities(
    kind: str, rows: Mapping[Key, Attributes], now: datetime, noted: Set[tuple[str, str]] = frozenset()
) -> list[Activity]:
    """The notes of who was active by some rows, each once, without those of a day and user that are noted already."""
    found: dict[tuple[str, str], Activity] = {}
    for key, attributes in rows.items():
        was = activity(kind, key, attributes)
        if was and timedelta(0) <= now - was[1] + timedelta(days=1) and now - was[1] < ACTIVITY_KEPT:
            who, at = was
            day = day_key(at, who)
            if (day, who) not in noted and (day, who) not in found:
                found[day, who] = Activity(day, who, expires=at + ACTIVITY_KEPT)
    return list(found.values())


def _of_those_gone(keys: Iterable[Key]) -> Iterator[tuple[str, Key]]:
    """What users whom the application has no more liked, wrote and followed.

    It goes with them there, or becomes nobody's, often without a signal. Here it goes first, as rows: whoever is erased
    afterwards counts down what is left of theirs, and the application's counts are without them already.
    """
    gone = set(keys)
    gone -= read(mapping()["user"], list(gone)).keys()
    for (user_id,) in sorted(gone):
        yield from (("like", (row.post_id, user_id)) for row in Like.by_user.query(user_id))
        yield from (("comment", (row.post_id, row.comment_id)) for row in Comment.by_author.query(user_id))
        yield from (("follow", (user_id, row.followed_id)) for row in Follow.query(user_id))
        yield from (("follow", (row.follower_id, user_id)) for row in Follow.by_followed.query(user_id))
        for row in Token.query(user_id, attributes_to_get=["user_id", "token_id"]):
            banned = row.token_id.startswith("ban#")
            yield "ban" if banned else "token", (user_id, row.token_id.removeprefix("ban#"))


def sync_all(
    entries: Mapping[str, Iterable[Key]], now: datetime, said: Mapping[str, Said] | None = None
) -> Counter[str]:
    """Sync rows of several kinds; with likes and comments their posts, whose counts they change; users go last."""
    todo: dict[str, dict[Key, None]] = {kind: dict.fromkeys(keys) for kind, keys in entries.items()}
    for kind, key in _of_those_gone(todo.get("user", {})):
        todo.setdefault(kind, {})[key] = None
    for kind in ("like", "comment"):
        if todo.get(kind) and "post" in mapping():
            todo.setdefault("post", {}).update(dict.fromkeys((key[0],) for key in todo[kind]))
    done: Counter[str] = Counter()
    for name in ORDER:
        if name in todo and name in mapping():
            done += sync(mapping()[name], todo[name], now, (said or {}).get(name))
    return done
