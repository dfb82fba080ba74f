"""The outbox: what the application writes leaves an entry, in the same transaction, that the relay carries on.

An entry costs one INSERT and nothing else: no request ever waits for AWS. Entries come from Django's signals; from
query sets' `update`, `bulk_create` and `bulk_update`, which send none; and from `MirroredQuerySet` where a manager has
a query set of its own. Raw SQL, and what the database itself does (triggers, cascades), leave none:
`manage.py backbeat_diff` finds what they did.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_init, post_save, pre_delete
from django.dispatch import Signal
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
_DEFERRED = "_backbeat_deferred"
"""What a column held that was not read."""


class Watched:
    """A model that is watched: how an entry is made of one of its rows.

    Attributes:
        name: Why it is watched: as a kind, or for what a kind's path leads through.
        entry: What its entries are called: a share's is its post's.
        paths: The paths of the entry's key.
        shared: By column of the application's, the field of ours that tasks write as well.
        columns: By path of the key, the column that it is, where it is one.
    """

    def __init__(self, name: str, entry: str, paths: Sequence[str], shared: Mapping[str, str], model: Any) -> None:
        self.name, self.entry, self.paths, self.shared = name, entry, paths, shared
        own = [path for path in paths if "__" not in path and path != "pk"]
        self.columns = {path: str(model._meta.get_field(path).attname) for path in own}
        self.kept = [*shared, *self.columns.values()]
        self.slot = f"_backbeat_was_{name}"

    @classmethod
    def of(cls, kind: Kind) -> "Watched":
        """How a kind's own model is watched."""
        shared = {
            path: name
            for ours, name in SHARED.get(kind.name, {}).items()
            for path in (kind.fields.get(ours), kind.results.get(ours))
            if path and "__" not in path
        }
        paths = [kind.fields.get(part, part) for part in KEYS[kind.name]]
        return cls(kind.name, "post" if kind.name == "share" else kind.name, paths, shared, kind.model)

    def key(self, row: models.Model) -> Key:
        """The key of a row's entry."""
        return tuple(_value(row, path) for path in self.paths)

    def keys(self, rows: Any) -> list[Key]:
        """The keys of a query's rows."""
        return [tuple(as_id(part) for part in key) for key in rows.values_list(*self.paths)]

    def read(self, row: models.Model) -> None:
        """Keep what a row held when it was read, to know later what the application has changed."""
        row.__dict__[self.slot] = {name: row.__dict__.get(name, _DEFERRED) for name in self.kept}

    def changed(self, row: models.Model) -> list[str]:
        """Which of the shared fields the application has changed since it read the row."""
        return [name for column, name in self.shared.items() if column in self._differing(row)]

    def left(self, row: models.Model) -> list[Key]:
        """The key that a row had when it was read, where it has another one now."""
        was = {
            path: was
            for path, column in self.columns.items()
            if (was := self._differing(row).get(column, _DEFERRED)) != _DEFERRED
        }
        if not was:
            return []
        return [tuple(as_id(was[path]) if path in was else _value(row, path) for path in self.paths)]

    def _differing(self, row: models.Model) -> dict[str, Any]:
        """The columns that are kept and differ now, as they were."""
        kept: dict[str, Any] = row.__dict__.get(self.slot) or {}
        return {
            name: was
            for name, was in kept.items()
            if _DEFERRED not in (was, now := row.__dict__.get(name, _DEFERRED)) and was != now
        }


_watched: dict[type[models.Model], list[Watched]] = {}
"""The watched kinds of each model."""
_inheriting: dict[type[models.Model], list[tuple[Watched, type[models.Model], str]]] = {}
"""By model that a watched one inherits: how that one is watched, and the path that leads from its rows to here."""
_connected: list[tuple[Signal, type[models.Model], str]] = []
"""What listens, to be let go where another map is watched."""


def as_id(value: Any) -> str:
    """An id of any type as Backbeat keeps it."""
    return NOBODY if value is None else str(value)


def _value(row: models.Model, path: str) -> str:
    """What a path leads to from a row, as an id."""
    here: Any = row
    *through, last = path.split("__")
    try:
        for name in through:
            here = getattr(here, name)
        if here is None:
            return NOBODY
        if last == "pk":
            return as_id(here.pk)
        field = here._meta.get_field(last)
        return as_id(getattr(here, field.attname) if field.concrete else getattr(here, last).pk)
    except ObjectDoesNotExist:  # a member without a profile, say
        return NOBODY


def mark(entry: str, keys: Iterable[Key], database: str, fields: Iterable[str] = ()) -> None:
    """Write entries that say that rows have changed, into the transaction that is open."""
    from backbeat_django.models import Entry  # there once the applications are loaded

    at, changed = timezone.now(), ",".join(sorted(set(fields)))
    # A row of nobody's is none of Backbeat's, but for tokens: the like of somebody who has no profile, say.
    there = [key for key in dict.fromkeys(keys) if NOBODY not in key or entry in ("token", "ban")]
    rows = [Entry(kind=entry, key=json.dumps(key), fields=changed, at=at) for key in there]
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
    _inheriting.clear()
    while _connected:
        signal, sender, uid = _connected.pop()
        signal.disconnect(sender=sender, dispatch_uid=uid)
    for kind in found:
        if kind.name not in KEYS:
            continue
        watched = Watched.of(kind)
        _watch(kind.model, watched)
        if kind.many_to_many is not None:
            _watch_many_to_many(kind.many_to_many, watched)
        for path in kind.fields.values():
            _watch_related(kind, path)
            _watch_passed(kind, path, watched)


def _watch(model: type[models.Model], watched: Watched) -> None:
    """Watch a model: its signals, those of what inherits it, and its query sets."""
    if any(each.name == watched.name for each in _watched.get(model, ())):
        return  # several paths lead through it

    def saved(instance: models.Model, using: str, created: bool, **_: Any) -> None:
        changed = [] if created else watched.changed(instance)
        keys = [watched.key(instance), *([] if created else watched.left(instance))]
        mark(watched.entry, keys, using, changed)
        if watched.kept:
            watched.read(instance)

    def deleted(instance: models.Model, using: str, **_: Any) -> None:
        mark(watched.entry, [watched.key(instance)], using)

    _watched.setdefault(model, []).append(watched)
    for heir in with_heirs(model):
        _mix_in(heir)
        _connect(post_save, saved, heir, watched.name)
        _connect(post_delete, deleted, heir, watched.name)
        _watch_reading(heir, watched)
    _save_together(model)
    for root, link in roots(model):
        _watch_root(root, link, model, watched)


def _watch_root(root: type[models.Model], link: str, model: type[models.Model], watched: Watched) -> None:
    """Watch a model that a watched one inherits: half of each row is its own, and may be written as such.

    What is deleted as such needs nothing more, as Django deletes the other half first, and says so.
    """

    def saved(instance: models.Model, using: str, created: bool, **_: Any) -> None:
        if not created:
            rows = model._base_manager.using(using).filter(**{link: instance.pk})
            mark(watched.entry, watched.keys(rows), using, watched.changed(instance))
            if watched.kept:
                watched.read(instance)

    _inheriting.setdefault(root, []).append((watched, model, link))
    for each in apps.get_models():
        if each._meta.concrete_model is root:
            _mix_in(each)
            _connect(post_save, saved, each, watched.name)
            _watch_reading(each, watched)
    _save_together(root)


def _watch_reading(model: type[models.Model], watched: Watched) -> None:
    """Keep what a model's rows hold when they are read, where something of it has to be known later."""

    def read(instance: models.Model, **_: Any) -> None:
        watched.read(instance)

    if watched.kept:
        _connect(post_init, read, model, watched.name)


def roots(model: type[models.Model]) -> list[tuple[type[models.Model], str]]:
    """The models with tables of their own that a model inherits, and the path from its rows to theirs."""
    return [
        (root, "__".join(step.join_field.name for step in model._meta.get_path_to_parent(root)))
        for root in model._meta.get_parent_list()
        if not root._meta.proxy
    ]


def with_heirs(model: type[models.Model]) -> list[type[models.Model]]:
    """A model and those that inherit it, proxies included: a signal names the very one that was saved."""
    return [each for each in apps.get_models(include_auto_created=True) if issubclass(each, model)]


def _connect(signal: Signal, receiver: Callable[..., None], sender: type[models.Model], name: str) -> None:
    uid = f"backbeat {name} {sender._meta.label}"
    signal.connect(receiver, sender=sender, weak=False, dispatch_uid=uid)
    _connected.append((signal, sender, uid))


def _watch_many_to_many(field: Any, watched: Watched) -> None:
    """Watch a many-to-many field whose rows are mapped: `add`, `remove` and `clear` write them without `save`."""
    through = field.remote_field.through
    here, there = field.m2m_field_name(), field.m2m_reverse_field_name()

    def changed(instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **_: Any) -> None:
        if action not in ("post_add", "pre_remove", "pre_clear"):  # afterwards nobody knows what was there
            return
        mine, other = (there, here) if reverse else (here, there)
        if pk_set is not None and direct:
            keys = [tuple(as_id({mine: instance.pk, other: pk}[path]) for path in watched.paths) for pk in pk_set]
        else:
            rows = through._base_manager.using(using).filter(**{mine: instance.pk})
            keys = watched.keys(rows if pk_set is None else rows.filter(**{f"{other}__in": pk_set}))
        mark(watched.entry, keys, using)

    direct = set(watched.paths) == {here, there}  # else a path leads on, to the user of a profile, say
    _connect(m2m_changed, changed, through, watched.name)


def _watch_passed(kind: Kind, path: str, watched: Watched) -> None:
    """Watch what a path passes and Django sends no signal for when it goes: a profile, whose user stays.

    None is sent for rows that it takes along of a model that Django has made itself, nor for those that it leaves
    behind with nothing in its place.
    """
    name, _, more = path.partition("__")
    step = follow(kind.model, name)[0]
    if not more or not (step.concrete and step.is_relation) or step.many_to_many:
        return
    if step.remote_field.on_delete is models.CASCADE and not kind.model._meta.auto_created:
        return

    def leaving(instance: Any, using: str, **_: Any) -> None:
        mark(watched.entry, watched.keys(kind.model._base_manager.using(using).filter(**{name: instance.pk})), using)

    for heir in with_heirs(step.related_model):
        _connect(pre_delete, leaving, heir, f"{watched.name} by {name}")


def _watch_related(kind: Kind, path: str) -> None:
    """Watch what a path goes through, where that belongs to the row: a profile of a user, the hashtags of a post."""
    step = follow(kind.model, path)[0]
    if kind.name not in ("user", "post") or not step.is_relation:
        return
    if step.many_to_many:
        _watch_tags(kind, step)
    elif step.auto_created:  # it points back here
        name = f"{kind.name} by {step.name}"
        _watch(step.related_model, Watched(name, kind.name, [step.field.name], {}, step.related_model))
    elif step.one_to_one and "__" in path and has_a_way_back(step):
        name, back = f"{kind.name} by {step.name}", step.remote_field
        _watch(step.related_model, Watched(name, kind.name, [f"{back.name}__pk"], {}, step.related_model))


def has_a_way_back(step: Any) -> bool:
    """Whether what a row points to can be asked for the row."""
    back = step.remote_field
    return not back.hidden and back.name == back.get_accessor_name()


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
    if not through._meta.auto_created and hasattr(
        field, "m2m_field_name"
    ):  # django-taggit's has none, and always sends
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
        heirs = _inheriting.get(self.model._meta.concrete_model, [])
        if not kinds and not heirs:
            return super().update(**kwargs)  # type: ignore[misc, no-any-return]
        with transaction.atomic(using=self.db, savepoint=False):
            self._for_write = True
            keys = {watched: watched.keys(self.order_by()) for watched in kinds}
            for watched, model, link in heirs:
                own = self.order_by().values("pk")
                keys[watched] = watched.keys(model._base_manager.using(self.db).filter(**{f"{link}__in": own}))
            moving = [each for each in kinds if not {*each.columns, *each.columns.values()}.isdisjoint(kwargs)]
            pks = list(self.order_by().values_list("pk", flat=True)) if moving else []
            number: int = super().update(**kwargs)  # type: ignore[misc]
            for watched in moving:  # the rows have other keys now
                keys[watched] += watched.keys(self.model._base_manager.using(self.db).filter(pk__in=pks))
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
