"""The one dictionary of settings, `BACKBEAT`: where the application keeps what the tasks read.

A *kind* is one of Backbeat's tables as the application has it: a model, a path for each field (`author`,
`profile__language`, as in a query), rows to leave out, and the fields that take the tasks' results.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.db.models import (
    BooleanField,
    CharField,
    DateField,
    DecimalField,
    Field,
    FileField,
    FloatField,
    ForeignObject,
    IntegerField,
    JSONField,
    Model,
    TextField,
)

VISIBILITIES = ("public", "followers", "hidden")
COUNTERS = ("likes", "comments", "shares", "views")
SEVERAL = ("hashtags", "file")
"""Fields of which a row may have several."""


@dataclass(frozen=True)
class Shape:
    """What the settings may say of a kind.

    Attributes:
        needed: Fields that must be mapped.
        optional: Fields that may be.
        defaults: What is taken where the settings say nothing.
        results: What the tasks write that a field of the application's can take.
    """

    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    results: tuple[str, ...] = ()


SHAPES: Mapping[str, Shape] = {
    "USER": Shape(
        needed=("name", "email", "created_at"),
        optional=("locale", "digest", "last_login_at", "active", "deleted_at"),
        defaults={
            "name": "username",
            "email": "email",
            "created_at": "date_joined",
            "last_login_at": "last_login",
            "active": "is_active",
        },
        results=("followers_count", "following_count", "posts_count", "digest", "email_status"),
    ),
    "POST": Shape(
        needed=("author", "text", "created_at"),
        optional=("visibility", "hashtags", "legal_hold", "file", *COUNTERS),
        results=("score", "hidden", "deleted", "media", "media_status", "media_reason"),
    ),
    "COMMENT": Shape(needed=("post", "author", "text", "created_at")),
    "LIKE": Shape(needed=("post", "user"), optional=("created_at",)),
    "FOLLOW": Shape(needed=("follower", "followed"), optional=("created_at",)),
    "SHARE": Shape(needed=("post", "user"), optional=("created_at",)),
    "TOKEN": Shape(
        needed=("id", "user", "expires_at"),
        optional=("created_at", "last_seen_at", "kind"),
        defaults={"id": "jti", "user": "user", "expires_at": "expires_at", "created_at": "created_at"},
    ),
    "BAN": Shape(
        needed=("token", "user", "expires_at"),
        optional=("created_at",),
        defaults={
            "token": "token__jti",
            "user": "token__user",
            "expires_at": "token__expires_at",
            "created_at": "blacklisted_at",
        },
    ),
    "TRENDING": Shape(needed=("tag",), results=("trending", "posts", "authors")),
    "NOTIFICATION": Shape(needed=("id", "user", "text"), optional=("kind", "link", "created_at")),
}
OWN = ("STACK", "DATABASE", "SHADOW")
"""Settings that are no kind."""
SHADOWED = (
    "update_user_statistics",
    "update_post_engagement_scores",
    "update_trending_hashtags",
    "generate_content_analytics",
)
"""The tasks whose results can be compared with another's before they are taken."""


SIMPLEJWT = {
    "TOKEN": {"model": "token_blacklist.OutstandingToken", "kind": "=refresh"},
    "BAN": {"model": "token_blacklist.BlacklistedToken"},
}
"""What is taken where simplejwt's black list is installed."""
TIMES = ("created_at", "expires_at", "last_seen_at", "last_login_at", "deleted_at")
"""Fields that are a day or a time."""
NO_TEXTS = (*COUNTERS, "digest", "active", "legal_hold")
"""Fields that are a number or a yes-or-no: any text would be yes."""
TEXTS = ("text", "name", "email", "locale")
"""Fields that are a text."""
GROUPS = {
    "a number": (IntegerField, FloatField, DecimalField),
    "a text": (CharField, TextField),
    "a yes-or-no": (BooleanField,),
    "a day or a time": (DateField,),
    "JSON": (JSONField,),
    "a relation": (ForeignObject,),
}
"""What Django's own fields hold; those of others may hold anything."""
TAKES = {
    **dict.fromkeys(("score", "followers_count", "following_count", "posts_count", "posts", "authors"), ("a number",)),
    "digest": ("a yes-or-no",),
    "trending": ("a yes-or-no",),
    "email_status": ("a text", "a yes-or-no"),
    "hidden": ("a yes-or-no", "a day or a time", "a text"),
    "deleted": ("a yes-or-no", "a day or a time"),
    "media": ("JSON", "a text"),
    "media_status": ("a text",),
    "media_reason": ("a text",),
}
"""By result, what the field that takes it may hold."""
LEADS_TO = {"author": "user", "user": "user", "follower": "user", "followed": "user", "post": "post"}
"""By field of ours, the kind whose key it holds."""
JOINS = {"LIKE": ("post", "user"), "FOLLOW": ("follower", "followed"), "COMMENT": ("post",), "SHARE": ("post",)}
"""What a row must have to count: one of nobody's, or about nothing, is as if it were not there."""


class NotMapped(Exception):
    """The settings do not say where something is, or name what is not there.

    Attributes:
        mend: What to write instead.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


@dataclass(frozen=True)
class Kind:
    """One of Backbeat's tables, as the application has it.

    Attributes:
        name: `user`, `post`, `comment`, ...
        model: The application's model; of a many-to-many field the one that joins its two sides.
        fields: By field of ours, the path to it.
        values: By value of theirs, `public`, `followers` or `hidden`.
        where: Which rows count; the others are as if they were not there.
        results: By result of ours, the name of the field that takes it.
        constant: What `kind` is for all rows, where it is no field.
        many_to_many: The field, where the settings name one: its rows change without a signal of their own.
    """

    name: str
    model: type[Model]
    fields: Mapping[str, str]
    values: Mapping[Any, str]
    where: Mapping[str, Any]
    results: Mapping[str, str]
    constant: str | None = None
    many_to_many: Any = None

    def takes(self, result: str) -> "Field[Any, Any] | None":
        """The application's field for a result of ours, if there is one."""
        name = self.results.get(result)
        if name is None or name == "delete":
            return None
        return cast("Field[Any, Any]", self.model._meta.get_field(name))

    @property
    def holds_bare_ids(self) -> bool:
        """Whether its posts are ids in a plain column, as a generic relation's: no query can ask which ones count."""
        return "post" in self.fields and not follow(self.model, self.fields["post"])[-1].is_relation

    @property
    def rows(self) -> Any:
        """All the rows that count; where `holds_bare_ids`, those of posts that do not as well."""
        return self.model._base_manager.using(mapping().database).filter(**self.where)


@dataclass(frozen=True)
class Map:
    """All that the settings say.

    Attributes:
        stack: The stack's name.
        database: The database that the mapped models are in, where the outbox is as well.
        kinds: By name.
        shadow: The tasks whose results are compared only.
    """

    stack: str
    database: str
    kinds: Mapping[str, Kind]
    shadow: frozenset[str]

    def __getitem__(self, name: str) -> Kind:
        return self.kinds[name]

    def __contains__(self, name: str) -> bool:
        return name in self.kinds

    def __iter__(self) -> Iterator[Kind]:
        return iter(self.kinds.values())


@cache
def mapping() -> Map:
    """What the settings map, read once.

    Raises:
        NotMapped: They are incomplete, or name what is not there; this is the first fault.
    """
    found, faults = read(getattr(settings, "BACKBEAT", None))
    if faults or found is None:
        raise faults[0]
    return found


def read(given: Any) -> tuple[Map | None, list[NotMapped]]:
    """The map that a dictionary of settings describes, and everything that is wrong with it."""
    if not isinstance(given, Mapping):
        return None, [
            NotMapped("settings.BACKBEAT is no dictionary", 'BACKBEAT = {"STACK": "backbeat-dev", "POST": {...}, ...}')
        ]
    faults: list[NotMapped] = []
    known = [*OWN, *SHAPES]
    for name in set(given) - set(known):
        faults.append(NotMapped(f"BACKBEAT has no setting {name!r}", f"It knows {', '.join(known)}."))
    if not isinstance(given.get("STACK"), str) or not given["STACK"]:
        faults.append(NotMapped('BACKBEAT["STACK"] is missing', "Give the name of the deployed stack."))
    wanted: dict[str, Any] = {"USER": {}, **{name: spec for name, spec in given.items() if name in SHAPES}}
    if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        for name, spec in SIMPLEJWT.items():
            if isinstance(wanted.setdefault(name, {}), Mapping):
                wanted[name] = {**spec, **wanted[name]}
    kinds = {}
    for name, spec in wanted.items():
        try:
            kinds[name.lower()] = _kind(name, spec)
        except NotMapped as fault:
            faults.append(fault)
    for kind in list(kinds.values()):
        astray = list(_astray(kind, kinds))
        if astray and kind.name.upper() not in given:
            del kinds[kind.name]  # simplejwt's tokens, of whom else they may be
        else:
            faults += astray
    if "post" in kinds:
        kinds |= {name: _about(kinds[name], kinds["post"]) for name in ("comment", "like", "share") if name in kinds}
    shadow = given.get("SHADOW", ())
    if not isinstance(shadow, (list, tuple, set)) or set(shadow) - set(SHADOWED):
        faults.append(
            NotMapped(f'BACKBEAT["SHADOW"] is {shadow!r}', f"Give a list of tasks, of {', '.join(SHADOWED)}.")
        )
    if faults:
        return None, faults
    return Map(given["STACK"], given.get("DATABASE", "default"), kinds, frozenset(shadow)), []


def _kind(name: str, spec: Any) -> Kind:
    """One kind, as the settings have it."""
    shape, where = SHAPES[name], f'BACKBEAT["{name}"]'
    if not isinstance(spec, Mapping):
        raise NotMapped(f"{where} is no dictionary", 'Write {"model": "app.Model", "<field>": "<path>", ...}.')
    label = spec.get("model", settings.AUTH_USER_MODEL if name == "USER" else None)
    if not isinstance(label, str):
        raise NotMapped(f"{where} names no model", f'Add "model": "app.Model" to {where}.')
    model, many_to_many = _model(where, label)
    allowed = {"model", "where", "values", "results", *shape.needed, *shape.optional}
    for other in set(spec) - allowed:
        raise NotMapped(f"{where} has no entry {other!r}", f"It knows {', '.join(sorted(allowed))}.")
    for part in ("where", "values", "results"):
        if not isinstance(spec.get(part, {}), Mapping):
            raise NotMapped(f"{where}: {part!r} is no dictionary", f'Write "{part}": {{...}}, or leave it out.')
    _check_where(where, model, spec.get("where", {}))
    fields = {ours: path for ours, path in shape.defaults.items() if _is_there(model, path)}
    fields |= {ours: spec[ours] for ours in (*shape.needed, *shape.optional) if ours in spec}
    constant = None
    if str(fields.get("kind", "")).startswith("="):
        constant = fields.pop("kind")[1:]
    for ours in shape.needed:
        if ours not in fields:
            raise NotMapped(f"{where} does not say where {ours!r} is", f'Add "{ours}": "<field>" to {where}.')
    for ours, path in fields.items():
        _check_path(where, ours, model, path)
    results = dict(spec.get("results", {}))
    for ours, theirs in results.items():
        if ours not in shape.results:
            raise NotMapped(f"{where} has no result {ours!r}", f"The results are {', '.join(shape.results) or 'none'}.")
        if (ours, theirs) != ("deleted", "delete"):
            _check_result(where, ours, model, theirs)
    conditions = dict(spec.get("where", {}))
    if (gone := results.get("deleted", "delete")) != "delete":
        # What the clean-up deleted stays as a row that says so, and is as if it were not there.
        deleted = model._meta.get_field(gone)
        conditions |= {gone: False} if deleted.get_internal_type() == "BooleanField" else {f"{gone}__isnull": True}
    joined = JOINS.get(name, ())
    if len({fields[ours] for ours in joined}) < len(joined):
        raise NotMapped(
            f"{where}: {' and '.join(map(repr, joined))} are the same field, {fields[joined[0]]!r}",
            "Name two fields, one for each.",
        )
    for ours in joined:
        if any(getattr(step, "null", True) for step in follow(model, fields[ours])):
            conditions[f"{fields[ours]}__isnull"] = False
    values = dict(spec.get("values", {}))
    for theirs, ours in values.items():
        if ours not in VISIBILITIES:
            raise NotMapped(f"{where} gives {theirs!r} the visibility {ours!r}", f"Take one of {VISIBILITIES}.")
    return Kind(name.lower(), model, fields, values, conditions, results, constant, many_to_many)


def _check_where(where: str, model: type[Model], conditions: Mapping[str, Any]) -> None:
    """The conditions must make a query."""
    try:
        model._base_manager.filter(**conditions)
    except (FieldError, ValidationError, ValueError, TypeError) as error:
        raise NotMapped(
            f'{where}: "where" is no filter of {model._meta.label}: {error}',
            'Write it as for the model\'s objects.filter(...): {"<path>": value, "<path>__in": [...]}.',
        ) from error


def _model(where: str, label: str) -> tuple[type[Model], Any]:
    """A model by its label; of `app.Model.field`, a many-to-many field, the model that joins."""
    app, _, rest = label.partition(".")
    name, _, through = rest.partition(".")
    try:
        model = apps.get_model(app, name)
        if not through:
            return model._meta.concrete_model, None  # a proxy's rows are written as the other model's, too
        many_to_many = _many_to_many(model, through)
    except (LookupError, ValueError, FieldDoesNotExist, AttributeError) as error:
        raise NotMapped(
            f"{where} names the model {label!r}, which is not there: {error}",
            'Write it as "app_label.ModelName", or "app_label.ModelName.field" for a many-to-many field.',
        ) from error
    return many_to_many.remote_field.through, many_to_many


def _many_to_many(model: type[Model], name: str) -> Any:
    """A many-to-many field by its name."""
    found = model._meta.get_field(name)
    if not found.many_to_many:
        raise FieldDoesNotExist(f"{name} is no many-to-many field")
    return found


def _is_there(model: type[Model], path: str) -> bool:
    try:
        follow(model, path)
    except FieldDoesNotExist:
        return False
    return True


def follow(model: type[Model], path: str) -> list[Any]:
    """The fields that a path goes through.

    Raises:
        FieldDoesNotExist: It leads nowhere.
    """
    found: list[Any] = []
    here: Any = model
    for name in path.split("__"):
        if here is None:
            raise FieldDoesNotExist(f"{found[-1].name} of {path!r} is no relation")
        step: Any = here._meta.pk if name == "pk" else here._meta.get_field(name)
        found.append(step)
        here = step.related_model if step.is_relation else None
    return found


def _check_path(where: str, ours: str, model: type[Model], path: Any) -> None:
    """A path must lead somewhere, and what it leads through must be seen when it changes."""
    names = sorted(each.name for each in model._meta.get_fields())
    mend = f"The fields of {model._meta.label} are {', '.join(names)}; a relation's are <relation>__<field>."
    if not isinstance(path, str):
        raise NotMapped(f"{where}: {ours!r} is {path!r}, no path to a field", mend)
    try:
        steps = follow(model, path)
    except FieldDoesNotExist as error:
        raise NotMapped(f"{where}: {ours!r} is {path!r}, which leads nowhere: {error}", mend) from error
    if ours not in SEVERAL and any(step.many_to_many or step.one_to_many for step in steps):
        raise NotMapped(f"{where}: {ours!r} is {path!r}, which has several values", "Only hashtags and files may.")
    generic = next((step for step in steps if hasattr(step, "fk_field")), None)
    if generic:
        raise NotMapped(
            f"{where}: {ours!r} is {path!r}, which is a generic foreign key",
            f'Write "{ours}": "{generic.fk_field}", and "where": {{"{generic.ct_field}__model": "<model>"}}.',
        )
    if steps[-1].is_relation and ours not in (*LEADS_TO, "id", "token"):
        raise NotMapped(
            f"{where}: {ours!r} is {path!r}, which holds a relation",
            f'Write "{ours}": "{path}__<field>", with the field that is meant.',
        )
    if ours in NO_TEXTS and holds(steps[-1]) == "a text":
        raise NotMapped(f"{where}: {ours!r} is {path!r}, which holds a text", "Name a number, or a yes-or-no.")
    if ours in TEXTS and (held := holds(steps[-1])) not in (None, "a text"):
        raise NotMapped(f"{where}: {ours!r} is {path!r}, which holds {held}", "Name a CharField or a TextField.")
    if ours in TIMES and (held := holds(steps[-1])) and held != "a day or a time":
        raise NotMapped(f"{where}: {ours!r} is {path!r}, which holds {held}", "Name a DateTimeField or a DateField.")
    if ours == "file" and not isinstance(steps[-1], FileField):
        raise NotMapped(f"{where}: {ours!r} is {path!r}, which is no file field", "Name a FileField or an ImageField.")


def _about(kind: Kind, post: Kind) -> Kind:
    """A kind whose rows count only where their posts do, and where they are posts themselves, as reposts may be."""
    where = dict(kind.where)
    if issubclass(kind.model, post.model):
        where = {**post.where, **where}
    if not kind.holds_bare_ids:
        where = {**{f"{kind.fields['post']}__{name}": value for name, value in post.where.items()}, **where}
    return replace(kind, where=where)


def _astray(kind: Kind, kinds: Mapping[str, Kind]) -> Iterator[NotMapped]:
    """The paths of a kind that should lead to another kind's rows, and lead to those of another model."""
    for ours, path in kind.fields.items():
        if ours not in LEADS_TO or LEADS_TO[ours] not in kinds:
            continue
        meant, where = kinds[LEADS_TO[ours]], f'BACKBEAT["{kind.name.upper()}"]'
        *_, last = follow(kind.model, path)
        if not last.is_relation:
            if issubclass(meant.model, last.model) and not last.primary_key:
                yield NotMapped(
                    f"{where}: {ours!r} is {path!r}, which is not the primary key of {last.model._meta.label}",
                    f'Write "{ours}": "{path.rpartition("__")[0]}__pk".',
                )
            continue  # else a plain column, as that of a generic relation
        if last.related_model is None:
            continue
        found, wanted = (cast("type[Model]", each._meta.concrete_model) for each in (last.related_model, meant.model))
        if not (issubclass(found, wanted) or issubclass(wanted, found)):
            onwards = [
                f"{path}__{each.name}"
                for each in found._meta.get_fields()
                if each.is_relation and (each.many_to_one or each.one_to_one) and each.related_model is wanted
            ]
            yield NotMapped(
                f"{where}: {ours!r} is {path!r}, which leads to {found._meta.label}; "
                f"{meant.name}s are {wanted._meta.label}",
                f'Write "{ours}": "{onwards[0]}".' if onwards else f"Name a path that ends at {wanted._meta.label}.",
            )
        elif last.concrete and last.target_field is not last.related_model._meta.pk:
            yield NotMapped(
                f"{where}: {ours!r} is {path!r}, which holds {last.target_field.name!r} and not the primary key",
                f'Write "{ours}": "{path}__pk".',
            )


def _check_result(where: str, ours: str, model: type[Model], theirs: Any) -> None:
    """A result must have a field that can be written."""
    try:
        found = model._meta.get_field(theirs)
    except FieldDoesNotExist as error:
        raise NotMapped(
            f"{where}: the result {ours!r} goes to {theirs!r}, which {model._meta.label} does not have",
            f"Add the field and its migration, or leave {ours!r} out.",
        ) from error
    if not getattr(found, "concrete", False) or found.many_to_many:
        raise NotMapped(f"{where}: the result {ours!r} goes to {theirs!r}, which is no column", "Name a plain field.")
    if (held := holds(found)) and held not in TAKES[ours]:
        raise NotMapped(
            f"{where}: the result {ours!r} goes to {theirs!r}, which holds {held}",
            f"Name a field that holds {' or '.join(TAKES[ours])}.",
        )


def holds(field: Any) -> str | None:
    """What a field holds, where that is known."""
    field = getattr(field, "output_field", field)  # of a generated one
    return next((what for what, classes in GROUPS.items() if isinstance(field, classes)), None)
