"""The outbox: what the application writes leaves an entry, in the same transaction, that the relay carries on.

An entry costs one INSERT and nothing else: no request ever waits for AWS. Entries come from Django's signals; from
query sets' `update`, `bulk_create` and `bulk_update`, which send none; and from `MirroredQuerySet` where a manager has
a query set of its own. Raw SQL, and what the database itself does (triggers, cascades), leave none:
`manage.py backbeat_diff` finds what they did.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import models, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_init, post_save
from django.utils import timezone

from backbeat.messages import Message
from backbeat.producer import Task
from backbeat_django.mapping import Kind, Map, follow, mapping

NOBODY = "-"
"""Whose tokens are those of nobody: a key cannot be empty."""
Key = tuple[str, ...]
KEYS = {
    "user": ("pk",),
    "post": ("pk",),
    "comment": ("post", "pk"),
    "like": ("post", "user"),
    "follow": ("follower", "followed"),
    "share": ("post",),
    "token": ("user", "id"),
    "ban": ("user", "token"),
}
"""What the key of a kind's entry is made of. A share only counts, so its entry is its post's."""
SHARED = {"user": {"digest": "digest"}, "post": {"visibility": "visibility", "hidden": "visibility"}}
"""The fields that tasks write as well, by what the settings call them."""
_WAS = "_backbeat_was"


class Watched:
    """A kind whose model is watched: how an entry is made of one of its rows.

    Attributes:
        kind: The kind.
        entry: What its entries are called: a share's is its post's.
        paths: The paths of its key.
        shared: By column of the application's, the field of ours that tasks write as well.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.entry = "post" if kind.name == "share" else kind.name
        self.paths = [kind.fields.get(part, part) for part in KEYS[kind.name]]
        self.shared: dict[str, str] = {}
        for ours, name in SHARED.get(kind.name, {}).items():
            for path in (kind.fields.get(ours), kind.results.get(ours)):
                if path and "__" not in path:
                    self.shared[path] = name

    def key(self, row: models.Model) -> Key:
        """The key of a row's entry."""
        return tuple(_value(row, path) for path in self.paths)

    def keys(self, rows: Any) -> list[Key]:
        """The keys of a query's rows."""
        return [tuple(as_id(part) for part in key) for key in rows.values_list(*self.paths)]

    def changed(self, row: models.Model) -> list[str]:
        """Which of the shared fields the application has changed since it read the row."""
        was = row.__dict__.get(_WAS)
        now = [row.__dict__.get(column, _WAS) for column in self.shared]
        row.__dict__[_WAS] = now
        if was is None:
            return []
        names = self.shared.values()
        return [name for name, old, new in zip(names, was, now, strict=True) if _WAS not in (old, new) and old != new]


_watched: dict[type[models.Model], list[Watched]] = {}
"""The watched kinds of each model."""


def as_id(value: Any) -> str:
    """An id of any type as Backbeat keeps it."""
    return NOBODY if value is None else str(value)


def _value(row: models.Model, path: str) -> str:
    """What a path leads to from a row, as an id."""
    here: Any = row
    *through, last = path.split("__")
    for name in through:
        here = getattr(here, name)
    if last == "pk":
        return as_id(here.pk)
    return as_id(getattr(here, here._meta.get_field(last).attname))


def mark(entry: str, keys: Iterable[Key], database: str, fields: Iterable[str] = ()) -> None:
    """Write entries that say that rows have changed, into the transaction that is open."""
    from backbeat_django.models import Entry  # there once the applications are loaded

    at, changed = timezone.now(), ",".join(sorted(set(fields)))
    rows = [Entry(kind=entry, key=json.dumps(key), fields=changed, at=at) for key in dict.fromkeys(keys)]
    if len(rows) == 1:
        rows[0].save(using=database, force_insert=True)
    elif rows:
        Entry.objects.using(database).bulk_create(rows, batch_size=500)


def send_later(task: Task[Any], message: Message, time: datetime) -> None:
    """Write a message to a task as an entry, into the transaction that is open; the relay sends it."""
    from backbeat_django.models import Entry  # there once the applications are loaded

    body = json.dumps({"message": message.to_json(), "time": time.isoformat()})
    Entry(kind="task", key=task.name, body=body, at=timezone.now()).save(using=mapping().database, force_insert=True)


def watch(found: Map) -> None:
    """Have every write to the mapped models leave an entry."""
    _watched.clear()
    for kind in found:
        if kind.name not in KEYS:
            continue
        watched = Watched(kind)
        _watched.setdefault(kind.model, []).append(watched)
        _watch(kind.model, watched)
        if kind.many_to_many is not None:
            _watch_many_to_many(kind.many_to_many, watched)
        for path in kind.fields.values():
            _watch_related(kind, path)


def _watch(model: type[models.Model], watched: Watched) -> None:
    """Watch a model: its signals, those of what inherits it, and its query sets."""

    def saved(instance: models.Model, using: str, created: bool, **_: Any) -> None:
        changed = watched.changed(instance) if watched.shared else []
        mark(watched.entry, [watched.key(instance)], using, [] if created else changed)

    def deleted(instance: models.Model, using: str, **_: Any) -> None:
        mark(watched.entry, [watched.key(instance)], using)

    def read(instance: models.Model, **_: Any) -> None:
        instance.__dict__[_WAS] = [instance.__dict__.get(column, _WAS) for column in watched.shared]

    for heir in _with_heirs(model):
        _connect(post_save, saved, heir, watched.kind.name)
        _connect(post_delete, deleted, heir, watched.kind.name)
        if watched.shared:
            _connect(post_init, read, heir, watched.kind.name)
    _save_together(model)
    _mix_in(model)


def _with_heirs(model: type[models.Model]) -> list[type[models.Model]]:
    """A model and those that inherit it, proxies included: a signal names the very one that was saved."""
    return [each for each in apps.get_models(include_auto_created=True) if issubclass(each, model)]


def _connect(signal: Any, receiver: Callable[..., None], sender: type[models.Model], name: str) -> None:
    signal.connect(receiver, sender=sender, weak=False, dispatch_uid=f"backbeat {name} {sender._meta.label}")


def _watch_many_to_many(field: Any, watched: Watched) -> None:
    """Watch a many-to-many field whose rows are mapped: `add`, `remove` and `clear` write them without `save`."""
    through = field.remote_field.through
    here, there = field.m2m_field_name(), field.m2m_reverse_field_name()

    def changed(instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **_: Any) -> None:
        if action not in ("post_add", "post_remove", "pre_clear"):
            return
        mine, other = (there, here) if reverse else (here, there)
        if action == "pre_clear":  # afterwards nobody knows what was there
            rows = through._base_manager.using(using).filter(**{mine: instance.pk})
            keys = watched.keys(rows)
        else:
            keys = [tuple(as_id({mine: instance.pk, other: pk}[path]) for path in watched.paths) for pk in pk_set or ()]
        mark(watched.entry, keys, using)

    _connect(m2m_changed, changed, through, watched.kind.name)


def _watch_related(kind: Kind, path: str) -> None:
    """Watch what a path goes through, where that belongs to the row: a profile of a user, the hashtags of a post."""
    step = follow(kind.model, path)[0]
    if kind.name not in ("user", "post") or not step.is_relation:
        return
    if step.many_to_many:
        _watch_tags(kind, step)
    elif step.auto_created:  # it points back here
        attname = step.field.attname

        def changed(instance: Any, using: str, **_: Any) -> None:
            mark(kind.name, [(as_id(getattr(instance, attname)),)], using)

        for heir in _with_heirs(step.related_model):
            _connect(post_save, changed, heir, f"{kind.name} by {path}")
            _connect(post_delete, changed, heir, f"{kind.name} by {path}")


def _watch_tags(kind: Kind, step: Any) -> None:
    """Watch a many-to-many field of a mapped row, from both of its sides."""
    field = step.field if step.auto_created else step
    through = field.remote_field.through
    forward = not step.auto_created

    def changed(instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **_: Any) -> None:
        if reverse != forward:
            if action in ("post_add", "post_remove", "post_clear"):
                mark(kind.name, [(as_id(instance.pk),)], using)
        elif action in ("post_add", "post_remove"):
            mark(kind.name, [(as_id(pk),) for pk in pk_set or ()], using)
        elif action == "pre_clear":
            ours, theirs = field.m2m_field_name(), field.m2m_reverse_field_name()
            mine, other = (ours, theirs) if forward else (theirs, ours)
            rows = through._base_manager.using(using).filter(**{other: instance.pk}).values_list(mine, flat=True)
            mark(kind.name, [(as_id(pk),) for pk in rows], using)

    _connect(m2m_changed, changed, through, f"{kind.name} by {step.name}")
    if not through._meta.auto_created:
        attname = through._meta.get_field(field.m2m_field_name() if forward else field.m2m_reverse_field_name()).attname

        def row_changed(instance: Any, using: str, **_: Any) -> None:
            mark(kind.name, [(as_id(getattr(instance, attname)),)], using)

        _connect(post_save, row_changed, through, f"{kind.name} through {step.name}")
        _connect(post_delete, row_changed, through, f"{kind.name} through {step.name}")


def _save_together(model: type[models.Model]) -> None:
    """Let a row and its entry be saved in one transaction, where the application has opened none.

    Django sends `post_save` after the row, outside any transaction of its own; `delete`, `add` and `remove` have one.
    """
    plain = model.save_base
    if getattr(plain, "_backbeat", False):
        return

    def save_base(self: models.Model, *args: Any, **kwargs: Any) -> None:
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            plain(self, *args, **kwargs)

    save_base.alters_data = True  # type: ignore[attr-defined]
    save_base._backbeat = True  # type: ignore[attr-defined]
    model.save_base = save_base  # type: ignore[method-assign]


class Mirrored:
    """Mixed into the query sets of mapped models: what they write in bulk leaves entries as well."""

    def update(self: Any, **kwargs: Any) -> int:
        """Update rows, and leave an entry for each."""
        kinds = _watched_of(self.model)
        if not kinds:
            return super().update(**kwargs)  # type: ignore[misc, no-any-return]
        with transaction.atomic(using=self.db, savepoint=False):
            self._for_write = True
            keys = {watched: watched.keys(self.order_by()) for watched in kinds}
            number: int = super().update(**kwargs)  # type: ignore[misc]
            for watched, found in keys.items():
                mark(watched.entry, found, self.db, [watched.shared[name] for name in kwargs if name in watched.shared])
        return number

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self: Any, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Create rows, and leave an entry for each whose key is known by then."""
        kinds = _watched_of(self.model)
        if not kinds:
            return super().bulk_create(objs, *args, **kwargs)  # type: ignore[misc, no-any-return]
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            rows: list[Any] = super().bulk_create(list(objs), *args, **kwargs)  # type: ignore[misc]
            for watched in kinds:
                known = [row for row in rows if "pk" not in watched.paths or row.pk is not None]
                mark(watched.entry, map(watched.key, known), self.db)
        return rows

    bulk_create.alters_data = True  # type: ignore[attr-defined]


class MirroredQuerySet(Mirrored, models.QuerySet[Any]):
    """The base of a mapped model's own query set."""


def _watched_of(model: type[models.Model]) -> Sequence[Watched]:
    return [watched for each, found in _watched.items() if issubclass(model, each) for watched in found]


def _mix_in(model: type[models.Model]) -> None:
    """Let the managers of a model make query sets that leave entries.

    A manager's class is what the managers of relations inherit (`post.comments.update(...)`), so each manager gets a
    class of its own. It keeps the name, by which migrations refer to it.
    """
    for base in model.mro():
        for manager in getattr(getattr(base, "_meta", None), "local_managers", ()):
            plain = type(manager)
            if not issubclass(plain._queryset_class, Mirrored):
                queries = type(plain._queryset_class.__name__, (Mirrored, plain._queryset_class), {})
                own = {"_queryset_class": queries, "__module__": plain.__module__, "__doc__": plain.__doc__}
                manager.__class__ = type(plain.__name__, (plain,), own)
    model._meta._expire_cache()  # type: ignore[attr-defined]
