"""The pull: what the tasks made of the application's data comes back into its own rows.

Whatever a task changes that an application shows is listed in Backbeat's table of changes, by the time of the change.
The pull reads that list from where it was last, and a bit before, fetches the rows that are named as they are now, and
writes what differs into the fields that the settings name. So it may be repeated, and what it costs follows what has
changed. Where the application has changed the same field itself and the relay has not carried that over yet, the
application's own later write wins.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone

from backbeat.app.erasing import ERASED
from backbeat.models import CHANGES_KEPT, Changed, Comment, Like, Notification, Post, Report, TrendingHashtags
from backbeat.posts import hashtags
from backbeat_django import mirror
from backbeat_django.mapping import Kind, mapping
from backbeat_django.models import Board, Entry, Progress
from backbeat_django.outbox import NOBODY, Key
from backbeat_django.relay import aws
from backbeat_django.rows import possible

OVERLAP = timedelta(minutes=20)
"""How long before the last pull it reads: a change is listed before it is made, by a function that has 15 minutes."""
TASK_OF = {
    "followers_count": "update_user_statistics",
    "following_count": "update_user_statistics",
    "posts_count": "update_user_statistics",
    "score": "update_post_engagement_scores",
    "trending": "update_trending_hashtags",
    "posts": "update_trending_hashtags",
    "authors": "update_trending_hashtags",
    "report": "generate_content_analytics",
}
"""Which task a result comes from, where it can be compared with another's before it is trusted."""


def pull(now: datetime | None = None) -> Counter[str]:
    """Bring back what has changed since the last pull; return how many rows were written, by kind.

    Raises:
        AwsUnavailable: AWS does not answer; the next pull begins where this one did.
    """
    now = now or timezone.now()
    progress = Progress.objects.using(mapping().database)
    last = progress.filter(name="pull").first()
    since = datetime.fromisoformat(json.loads(last.state)["until"]) - OVERLAP if last else now - CHANGES_KEPT
    found: dict[str, dict[Key, None]] = defaultdict(dict)
    with aws():
        for change in Changed.since(since, now):
            found[change.kind][change.key] = None
    done = Counter[str]()
    for kind, keys in found.items():
        listed = list(keys)
        for start in range(0, len(listed), 100):
            done += bring(kind, listed[start : start + 100])
    progress.update_or_create(name="pull", defaults={"state": json.dumps({"until": now.isoformat()})})
    return done


def behind(now: datetime | None = None) -> timedelta | None:
    """How long ago the last pull was, where that is longer than changes are kept."""
    last = Progress.objects.using(mapping().database).filter(name="pull").first()
    if last is None:
        return None
    ago = (now or timezone.now()) - datetime.fromisoformat(json.loads(last.state)["until"])
    return ago if ago > CHANGES_KEPT else None


def bring(kind: str, keys: Sequence[Key]) -> Counter[str]:
    """Bring rows of one kind, as they are now, to the application; what can be none of its rows is passed over."""
    if (of := "post" if kind in ("deleted", "restored") else kind) in ("user", "post") and of in mapping():
        keys = possible(mapping()[of], keys)
    match kind:
        case "user" | "post" if kind in mapping():
            return Counter({kind: _rows(mapping()[kind], keys)})
        case "deleted" if "post" in mapping():
            return Counter({kind: _deleted(mapping()["post"], keys)})
        case "restored" if "post" in mapping():
            return Counter({kind: sum(_restore(key[0]) for key in keys)})
        case "token" if "token" in mapping():
            return Counter({kind: _tokens(keys)})
        case "trending":
            return Counter({kind: _trending()})
        case "report":
            return Counter({kind: sum(_report(key[0]) for key in keys)})
        case "notification" if "notification" in mapping():
            keys = [key for key in keys if possible(mapping()["user"], [key[:1]])]
            return Counter({kind: sum(_notification(*key) for key in keys)})
    return Counter()


def pending(kind: str, keys: Iterable[Key]) -> dict[Key, set[str]]:
    """Which rows have entries that the relay has not carried over, and which fields those say were changed."""
    found: dict[Key, set[str]] = {}
    texts = [json.dumps(key) for key in keys]
    entries = Entry.objects.using(mapping().database).filter(kind=kind, key__in=texts, error="")
    for key, fields in entries.values_list("key", "fields"):
        found.setdefault(tuple(json.loads(key)), set()).update(filter(None, fields.split(",")))
    return found


# Users and posts


def _rows(kind: Kind, keys: Sequence[Key]) -> int:
    """Bring what the tasks wrote into users or posts."""
    with aws():
        ours = mirror.fetch(kind.name, keys)
    theirs = {(str(row.pk),): row for row in _all(kind).filter(pk__in=[key[0] for key in keys])}
    waiting = pending(kind.name, keys)
    written = 0
    for key in keys:
        if key not in theirs or key not in ours:
            continue
        changes = missing(kind, ours[key], theirs[key], waiting.get(key, set()))
        if changes:
            written += _all(kind).filter(pk=theirs[key].pk).update(**changes)
    return written


def _deleted(kind: Kind, keys: Sequence[Key]) -> int:
    """Let posts that the clean-up has deleted go here as well.

    It must have said so: a row that is merely missing may be lost, or not there yet.
    """
    with aws():
        ours = mirror.fetch("post", keys)
    waiting = pending("post", keys)
    gone = [key[0] for key in keys if key not in ours and key not in waiting]
    return sum(_delete(kind, row) for row in _all(kind).filter(pk__in=gone))


def _all(kind: Kind) -> Any:
    """A query of all rows of a kind, those that do not count included, that leaves no entries."""
    return models.QuerySet(kind.model, using=mapping().database)


def missing(
    kind: Kind,
    ours: Any,
    theirs: models.Model,
    said: set[str] | frozenset[str] = frozenset(),
    *,
    shadowed: bool = False,
) -> dict[str, Any]:
    """What a row of the application's has to change for to hold the tasks' results, by its fields.

    Args:
        kind: The kind.
        ours: Backbeat's row.
        theirs: The application's row.
        said: The fields that the application has changed itself, and the relay has not carried over.
        shadowed: Whether results of tasks in shadow mode are meant, too.
    """
    changes = {}
    for result in kind.results:
        field = kind.takes(result)
        if field is None or (not shadowed and TASK_OF.get(result) in mapping().shadow):
            continue
        now = getattr(theirs, field.attname)
        value = _result(kind, result, ours, field, now, said)
        if value is not _AS_IT_IS and value != now:
            changes[field.name] = value
    return changes


_AS_IT_IS = object()


def _result(kind: Kind, result: str, ours: Any, field: Any, now: Any, said: set[str] | frozenset[str]) -> Any:
    """What the application's field for a result is to hold."""
    match result:
        case "digest":
            return _AS_IT_IS if ours.digest or "digest" in said else False
        case "email_status":
            return ours.email_status != "ok" if _is(field, "BooleanField") else ours.email_status
        case "hidden":
            return _AS_IT_IS if "visibility" in said else _hidden(kind, ours, field, now)
        case "deleted":
            return _AS_IT_IS  # it is there
        case "media":
            media = ours.media.as_dict() if ours.media else {}
            if not media and not now:
                return _AS_IT_IS  # null, or an empty text
            return media if _is(field, "JSONField") else json.dumps(media)
        case "media_status" | "media_reason":
            return getattr(ours, result) or (None if field.null else "")
    value = getattr(ours, result)
    if value is None:
        return _AS_IT_IS
    if _is(field, "IntegerField", "BigIntegerField", "PositiveIntegerField", "PositiveBigIntegerField"):
        return math.floor(value + 0.5)
    return field.to_python(float(value) if _is(field, "FloatField") else str(value))


def _is(field: Any, *kinds: str) -> bool:
    return field.get_internal_type() in kinds


def _hidden(kind: Kind, ours: Post, field: Any, now: Any) -> Any:
    """What says that a post is hidden: a yes or no, a time, or a visibility of the application's."""
    hidden = ours.hidden_at is not None
    if not hidden and ours.visibility == "hidden":
        return _AS_IT_IS  # the application hides it
    if _is(field, "BooleanField"):
        return hidden
    if _is(field, "DateTimeField"):
        return as_theirs(ours.hidden_at) if bool(now) != hidden else _AS_IT_IS
    meaning = kind.values.get(now, now)
    if meaning == ours.visibility:
        return _AS_IT_IS
    theirs = [name for name, means in kind.values.items() if means == ours.visibility]
    return theirs[0] if theirs else ours.visibility


def as_theirs(time: datetime | None) -> datetime | None:
    """A time as the application's fields hold it."""
    return time if time is None or settings.USE_TZ else timezone.make_naive(time)


def _delete(kind: Kind, row: models.Model) -> int:
    """Do what the settings say with a post that the clean-up has deleted."""
    name = kind.results.get("deleted")
    if name is None:
        return 0
    if name == "delete":
        row.delete(using=mapping().database)
        return 1
    field: Any = kind.takes("deleted")
    if getattr(row, field.attname):
        return 0
    return int(_all(kind).filter(pk=row.pk).update(**{name: True if _is(field, "BooleanField") else timezone.now()}))


def _restore(post_id: str) -> int:
    """Bring back a post that `backbeat restore` has brought back, with its comments and likes where they are gone."""
    kind = mapping()["post"]
    with aws():
        ours: Any = mirror.fetch("post", [(post_id,)]).get((post_id,))
    if ours is None or (post_id,) in pending("post", [(post_id,)]):
        return 0
    name = kind.results.get("deleted")
    if name is None:
        return 0
    if name != "delete":
        field: Any = kind.takes("deleted")
        return int(_all(kind).filter(pk=post_id).update(**{name: False if _is(field, "BooleanField") else None}))
    if _all(kind).filter(pk=post_id).exists():
        return 0
    with aws():
        comments, likes = list(Comment.query(post_id)), list(Like.query(post_id))
    try:
        with transaction.atomic(using=mapping().database):
            _make("post", pk=post_id, author=ours.author_id, text=ours.text, created_at=ours.created_at)
            for row in comments:
                own = {"author": row.author_id, "text": row.text, "created_at": row.created_at}
                _make("comment", pk=row.comment_id, post=post_id, **own)
            for like in likes:
                _make("like", post=post_id, user=like.user_id, created_at=like.created_at)
    except (IntegrityError, ValueError) as error:
        raise RuntimeError(f"post {post_id} was restored, and cannot be made anew here: {error}") from error
    return 1


def _make(name: str, **values: Any) -> None:
    """Make a row of the application's from ours, if its kind is mapped."""
    if name not in mapping():
        return
    kind = mapping()[name]
    held: dict[str, Any] = {}
    for ours, value in values.items():
        path = "pk" if ours == "pk" else kind.fields.get(ours)
        if path is None or "__" in path:
            continue
        attname = "pk" if path == "pk" else kind.model._meta.get_field(path).attname  # type: ignore[union-attr]
        held[attname] = as_theirs(value) if isinstance(value, datetime) else value
    kind.model(**held).save_base(raw=False, force_insert=True, using=mapping().database)


# Tokens


def _tokens(keys: Sequence[Key]) -> int:
    """Delete the tokens, and the bans, that the clean-up has deleted; those of an erased user are nobody's here."""
    keys = [(NOBODY if user == ERASED else user, token) for user, token in keys]
    bans = [(user, token.removeprefix("ban#")) for user, token in keys if token.startswith("ban#")]
    tokens = [key for key in keys if not key[1].startswith("ban#")]
    deleted = 0
    if bans and "ban" in mapping():
        deleted += _gone("ban", "token", bans)
    if tokens:
        deleted += _gone("token", "id", tokens)
    return deleted


def _gone(name: str, field: str, keys: Sequence[Key]) -> int:
    """Delete the application's tokens that Backbeat has no more; one that is banned and alive stays."""
    kind, waiting = mapping()[name], pending(name, keys)
    keys = possible(kind, keys)
    with aws():
        there = mirror.fetch(name, list(dict.fromkeys(keys)))
    ids = [key[1] for key in keys if key not in there and key not in waiting]
    rows = kind.rows.filter(**{f"{kind.fields[field]}__in": ids})
    alive = Q(**{f"{kind.fields['expires_at']}__gt": as_theirs(timezone.now())})
    if name == "ban":
        rows = rows.exclude(alive)
    elif "ban" in mapping():
        ban = mapping()["ban"]
        banned = ban.rows.filter(**{f"{ban.fields['token']}__in": ids}).values_list(ban.fields["token"], flat=True)
        rows = rows.exclude(alive & Q(**{f"{kind.fields['id']}__in": list(banned)}))
    pks = list(rows.values_list("pk", flat=True))
    kind.model._base_manager.using(mapping().database).filter(pk__in=pks).delete()
    return len(pks)


def spared(name: str, keys: Sequence[Key]) -> set[Key]:
    """Tokens that Backbeat has no more and the application keeps, as they are banned and would be good again."""
    if name != "token" or "ban" not in mapping() or not keys:
        return set()
    ban = mapping()["ban"]
    banned = ban.rows.filter(**{f"{ban.fields['token']}__in": [key[1] for key in keys]})
    tokens = {str(token) for token in banned.values_list(ban.fields["token"], flat=True)}
    return {key for key in keys if key[1] in tokens}


# What belongs to no row


def _board(name: str, value: Any, as_of: datetime) -> int:
    """Keep a result, unless a newer one is kept."""
    boards = Board.objects.using(mapping().database)
    kept = boards.filter(name=name).first()
    if kept and (kept.value == value or kept.as_of > as_of):
        return 0
    boards.update_or_create(name=name, defaults={"value": value, "as_of": as_of})
    return 1


def _trending() -> int:
    """Bring the board of trending hashtags, and mark the application's own hashtags by it."""
    with aws():
        try:
            board = TrendingHashtags.get("#", consistent_read=True)
        except TrendingHashtags.DoesNotExist:
            return 0
    if "update_trending_hashtags" in mapping().shadow:
        return 0
    written = _board("trending", board.tags, board.as_of)
    if "trending" in mapping():
        for pk, changes in hashtags_to_change(board.tags).items():
            written += _all(mapping()["trending"]).filter(pk=pk).update(**changes)
    return written


def hashtags_to_change(tags: Sequence[Mapping[str, Any]]) -> dict[Any, dict[str, Any]]:
    """What the application's hashtags have to change for, by primary key, to say what the board says."""
    kind = mapping()["trending"]
    name = kind.fields["tag"]
    wanted: dict[str, dict[str, Any]] = {}
    for tag in tags:
        results = {"trending": True, "posts": int(tag["posts"]), "authors": int(tag["authors"])}
        wanted[tag["tag"]] = {kind.results[each]: value for each, value in results.items() if each in kind.results}
    query = Q()
    for tag in tags:
        for text in {tag["tag"], tag["shown"]}:
            query |= Q(**{f"{name}__iexact": text}) | Q(**{f"{name}__iexact": f"#{text}"})
            if "_" in text.strip("_"):  # theirs may have a blank or a hyphen there
                query |= Q(*((f"{name}__icontains", word) for word in text.split("_") if word))
    marked = kind.results.get("trending")
    if marked:
        query |= Q(**{marked: True})
    changes: dict[Any, dict[str, Any]] = {}
    if not query:
        return changes
    for row in kind.rows.filter(query):
        folded = hashtags.fold(hashtags.named(str(getattr(row, name))))
        its = wanted.get(folded, {marked: False} if marked else {})
        differ = {field: value for field, value in its.items() if getattr(row, field) != value}
        if differ:
            changes[row.pk] = differ
    return changes


def _report(day: str) -> int:
    """Bring one day's report."""
    with aws():
        try:
            report = Report.get("daily", day, consistent_read=True)
        except Report.DoesNotExist:
            return 0
    if TASK_OF["report"] in mapping().shadow:
        return 0
    return _board(f"report {day}", report.figures, report.as_of)


def _notification(user_id: str, notification_id: str) -> int:
    """Bring one notification."""
    with aws():
        try:
            row = Notification.get(user_id, notification_id, consistent_read=True)
        except Notification.DoesNotExist:
            return 0
    kind = mapping()["notification"]
    its_id = kind.fields["id"]
    users = mapping()["user"].model._base_manager.using(mapping().database)
    name = f"{user_id}/{notification_id}"
    if _all(kind).filter(**{its_id: name}).exists() or not users.filter(pk=user_id).exists():
        return 0
    values = {"id": name, "user": user_id, "text": row.text, "kind": row.kind, "link": row.link or ""}
    _make("notification", **values, created_at=row.created_at)
    return 1
