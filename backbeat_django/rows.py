"""The application's rows, read as the rows that Backbeat is to have."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.utils import timezone

from backbeat.models import Comment, Follow, Like, Post, Row, Token, User, day_key, slice_key
from backbeat.posts import hashtags
from backbeat_django.mapping import COUNTERS, VISIBILITIES, Kind, follow, mapping
from backbeat_django.outbox import KEYS, NOBODY, Key, as_id

Attributes = dict[str, Any]
"""What a row of ours is to hold, by attribute; None where it is to hold nothing."""

MODELS: Mapping[str, type[Row]] = {
    "user": User,
    "post": Post,
    "comment": Comment,
    "like": Like,
    "follow": Follow,
    "token": Token,
    "ban": Token,
}
"""The table of each kind."""


def as_time(value: Any) -> datetime | None:
    """A time or a day of the application's, in UTC; one without a time zone is in Django's own."""
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    if value.utcoffset() is None:
        value = timezone.make_aware(value)
    return value.astimezone(UTC)  # type: ignore[no-any-return]


def ours_of(kind: str, key: Key) -> Any:
    """The key of a row of ours, as PynamoDB takes it."""
    if kind == "ban":
        return key[0], f"ban#{key[1]}"
    return key if len(key) > 1 else key[0]


def possible(kind: Kind, keys: Iterable[Key]) -> list[Key]:
    """The keys that a row could have.

    What else writes to the stack need not keep to the application's ids, and a generic relation holds those of
    anything: a reaction to comment 7 is about no post whose id is a UUID. No integer has more than 64 bits, and no
    text of PostgreSQL's a zero byte.
    """
    fields = [_field_of(kind, part) for part in KEYS[kind.name]]
    return [key for key in keys if all(map(_could_hold, fields, key))]


def _could_hold(field: Any, text: str) -> bool:
    try:
        value = field.to_python(text)
    except ValidationError:
        return text == NOBODY
    return "\0" not in text and not (isinstance(value, int) and value.bit_length() > 63)


def _field_of(kind: Kind, ours: str) -> Any:
    """The column that holds a field of ours; of a relation the key that it leads to."""
    step: Any = follow(kind.model, kind.fields.get(ours, ours))[-1]
    return step if step.concrete else step.related_model._meta.pk


def read(kind: Kind, keys: Sequence[Key]) -> dict[Key, Attributes]:
    """The rows of some keys as they are now; a key without a row is left out."""
    keys = possible(kind, keys)
    if not keys:
        return {}
    if kind.name in ("user", "post"):
        query = Q(pk__in=[key[0] for key in keys])
    elif kind.name == "comment":
        query = Q(pk__in=[key[1] for key in keys])
    else:
        first, second = (kind.fields[part] for part in KEYS[kind.name])
        by_first: dict[str, list[str]] = defaultdict(list)
        for one, other in keys:
            by_first[one].append(other)
        query = Q()
        for one, others in by_first.items():
            own = Q(**{f"{first}__isnull": True}) if one == NOBODY else Q(**{first: one})
            query |= own & Q(**{f"{second}__in": others})
    found = rows(kind, kind.rows.filter(query))
    return {key: found[key] for key in keys if key in found}


def rows(kind: Kind, query: Any, faults: "list[Fault] | None" = None) -> dict[Key, Attributes]:
    """A query's rows by their keys, as the rows that Backbeat is to have.

    Args:
        kind: Their kind.
        query: The query, whose order is kept.
        faults: Takes the rows that Backbeat cannot have; where it is not given, the first one is raised.

    Raises:
        ValueError: A row cannot be had: it says when it was made in no way, or in a year that Backbeat does not know.
    """
    several = "hashtags" in kind.fields and _has_several(kind)
    apart = {"file", "hashtags"} if several else {"file"}  # files are no part of a row of ours; `files` has them
    paths = {ours: path for ours, path in kind.fields.items() if ours not in apart}
    if "hidden" in kind.results:
        paths["hidden"] = kind.results["hidden"]
    names = ["pk", *paths]
    found = [dict(zip(names, values, strict=True)) for values in query.values_list("pk", *paths.values())]
    if kind.holds_bare_ids:
        there = _posts_among(row["post"] for row in found)
        found = [row for row in found if as_id(row["post"]) in there]
    ids = [row["pk"] for row in found]
    if kind.name == "user":
        for counter, counts in _user_counts(ids).items():
            for row in found:
                row[counter] = counts.get(str(row["pk"]), 0)
    if kind.name == "post":
        if several:
            tags = _tags(kind, ids)
            for row in found:
                row["hashtags"] = tags[row["pk"]]
        for counter, counts in _counts(ids).items():
            for row in found:
                row[counter] = counts.get(str(row["pk"]), 0)
    made = {}
    for row in found:
        try:
            key, attributes = _MAKERS[kind.name](kind, row)
        except (ValueError, OverflowError) as error:
            if faults is None:
                raise
            faults.append(Fault(as_id(row["pk"]), str(error)))
        else:
            made[key] = attributes
    return made


def _posts_among(ids: Iterable[Any]) -> set[str]:
    """Which of some ids are those of posts that count."""
    post = mapping()["post"]
    keys = possible(post, {(as_id(value),) for value in ids})
    there = post.rows.filter(pk__in=[key[0] for key in keys])
    return {as_id(pk) for pk in there.values_list("pk", flat=True)}


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that Backbeat cannot have.

    Attributes:
        pk: Its primary key.
        why: Why not.
    """

    pk: str
    why: str


def _has_several(kind: Kind) -> bool:
    return any(step.many_to_many or step.one_to_many for step in follow(kind.model, kind.fields["hashtags"]))


def _tags(kind: Kind, ids: list[Any]) -> dict[Any, list[Any]]:
    """The hashtags of posts, where they are rows of their own."""
    found: dict[Any, list[Any]] = defaultdict(list)
    query = kind.model._base_manager.using(mapping().database).filter(pk__in=ids)
    for pk, tag in query.values_list("pk", kind.fields["hashtags"]):
        if tag:
            found[pk].append(tag)
    return found


def _counts(ids: list[Any]) -> dict[str, dict[str, int]]:
    """How many likes, comments and shares posts have, where they are rows of their own."""
    found: dict[str, dict[str, int]] = {}
    for counter in COUNTERS:
        name = counter.removesuffix("s")
        if name not in mapping() or counter in mapping()["post"].fields:
            continue
        kind = mapping()[name]
        post = kind.fields["post"]
        what = Count(kind.fields["user"], distinct=True) if name == "like" else Count("pk")
        counted = kind.rows.filter(**{f"{post}__in": ids}).order_by().values(post).annotate(number=what)
        found[counter] = {str(pk): number for pk, number in counted.values_list(post, "number")}
    return found


def _user_counts(ids: list[Any]) -> dict[str, dict[str, int]]:
    """How many follow users, whom they follow, and how many posts they have."""
    found: dict[str, dict[str, int]] = {}
    for counter, name, field, other in (
        ("followers_count", "follow", "followed", "follower"),
        ("following_count", "follow", "follower", "followed"),
        ("posts_count", "post", "author", None),
    ):
        if name in mapping():
            kind = mapping()[name]
            path = kind.fields[field]
            what = Count(kind.fields[other], distinct=True) if other else Count("pk")
            counted = kind.rows.filter(**{f"{path}__in": ids}).order_by().values(path).annotate(number=what)
            found[counter] = {str(pk): number for pk, number in counted.values_list(path, "number")}
    return found


def _user(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    user_id = as_id(row["pk"])
    created_at = as_time(row["created_at"])
    if created_at is None:
        raise ValueError(f"user {user_id}: {kind.fields['created_at']} is empty; it says when they joined")
    attributes: Attributes = {
        "name": row["name"] or "",
        "email": (row["email"] or "").strip(),
        "created_at": created_at,
        "day": day_key(created_at, user_id),
        "slice_key": slice_key(user_id),
    }
    attributes |= {name: row[name] for name in ("followers_count", "following_count", "posts_count") if name in row}
    if "locale" in row:
        attributes["locale"] = (row["locale"] or "en").replace("_", "-")
    if "digest" in row:
        attributes["digest"] = bool(row["digest"])
    if "last_login_at" in row:
        login = as_time(row["last_login_at"])
        attributes |= {"last_login_at": login, "login_day": day_key(login, user_id) if login else None}
    if "deleted_at" in row:
        attributes["deleted_at"] = as_time(row["deleted_at"])
    elif not row.get("active", True):
        attributes["deleted_at"] = created_at  # when is not known, and nothing asks
    elif "active" in row:
        attributes["deleted_at"] = None
    return (user_id,), attributes


def _post(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    post_id = as_id(row["pk"])
    created_at = as_time(row["created_at"])
    if created_at is None:
        raise ValueError(f"post {post_id}: {kind.fields['created_at']} is empty; it says when it was made")
    text = row["text"] or ""
    tags = set(hashtags.distinct(text).values()) if "hashtags" not in row else set(_as_tags(row["hashtags"]))
    attributes: Attributes = {
        "author_id": as_id(row["author"]),
        "text": text,
        "created_at": created_at,
        "day": day_key(created_at, post_id),
        "hashtags": tags or None,
        "tagged_at": created_at if tags else None,
        "visibility": _visibility(kind, row),
        "legal_hold": bool(row.get("legal_hold", False)),
    }
    for counter in COUNTERS:
        if counter in row:
            attributes[f"{counter}_count"] = max(0, row[counter] or 0)
    return (post_id,), attributes


def _visibility(kind: Kind, row: Mapping[str, Any]) -> str:
    if row.get("hidden") and kind.results["hidden"] != kind.fields.get("visibility"):
        return "hidden"
    if "visibility" not in row:
        return "public"
    value = row["visibility"]
    return kind.values.get(value, value if value in VISIBILITIES else "hidden")


def _as_tags(given: Any) -> Iterable[str]:
    """Hashtags from a text, `#a #b` or `a, b`, or from a list; the same ones only once."""
    if isinstance(given, str):
        given = hashtags.find(given) if "#" in given else given.replace(",", " ").split()
    found: dict[str, str] = {}
    for tag in given or ():
        for one in hashtags.find(f"#{hashtags.named(str(tag))}"):
            found.setdefault(hashtags.fold(one), one)
    return found.values()


def _comment(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    comment_id = as_id(row["pk"])
    created_at = as_time(row["created_at"])
    if created_at is None:
        raise ValueError(f"comment {comment_id}: {kind.fields['created_at']} is empty; it says when it was made")
    return (as_id(row["post"]), comment_id), {
        "author_id": as_id(row["author"]),
        "text": row["text"] or "",
        "created_at": created_at,
        "day": day_key(created_at, comment_id),
    }


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""When a row was made whose time the application does not keep."""


def _like(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    return (as_id(row["post"]), as_id(row["user"])), {"created_at": as_time(row.get("created_at")) or LONG_AGO}


def _follow(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    key = (as_id(row["follower"]), as_id(row["followed"]))
    return key, {"created_at": as_time(row.get("created_at")) or LONG_AGO}


def _token(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    user_id, token_id = as_id(row["user"]), as_id(row["id"])
    expires_at, created_at = as_time(row["expires_at"]), as_time(row.get("created_at"))
    what = kind.constant or row.get("kind") or ("session" if "last_seen_at" in row else "access")
    more: Attributes = {"last_seen_at": as_time(row["last_seen_at"])} if "last_seen_at" in row else {}
    token = Token.new(
        user_id, token_id, kind=what, created_at=created_at or expires_at or LONG_AGO, expires_at=expires_at, **more
    )
    return (user_id, token_id), _held(token)


def _ban(kind: Kind, row: Mapping[str, Any]) -> tuple[Key, Attributes]:
    user_id, token_id = as_id(row["user"]), as_id(row["token"])
    expires_at = as_time(row["expires_at"])
    created_at = as_time(row.get("created_at")) or expires_at or LONG_AGO
    ban = Token.new(
        user_id, f"ban#{token_id}", kind="blacklist", created_at=created_at, expires_at=expires_at, bans=token_id
    )
    return (user_id, token_id), _held(ban)


_TOKEN = ("kind", "created_at", "expires_at", "due_day", "last_seen_at", "seen_day", "family", "bans")


def _held(token: Token) -> Attributes:
    return {name: getattr(token, name) for name in _TOKEN}


_MAKERS: Mapping[str, Callable[[Kind, Mapping[str, Any]], tuple[Key, Attributes]]] = {
    "user": _user,
    "post": _post,
    "comment": _comment,
    "like": _like,
    "follow": _follow,
    "token": _token,
    "ban": _ban,
}


def activity(kind: str, key: Key, attributes: Attributes) -> tuple[str, datetime] | None:
    """Who was active by a row, and when."""
    match kind:
        case "user":
            who, at = key[0], attributes.get("last_login_at")
        case "post" | "comment":
            who, at = attributes["author_id"], attributes["created_at"]
        case "like":
            who, at = key[1], attributes["created_at"]
        case "follow":
            who, at = key[0], attributes["created_at"]
        case _:
            return None
    return (who, at) if at else None
