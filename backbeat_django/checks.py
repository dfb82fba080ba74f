"""Django's system checks of the settings: each fault with its mend."""

from typing import Any

from django.conf import settings
from django.core import checks
from django.db import router

from backbeat_django.mapping import LEADS_TO, VISIBILITIES, Map, follow, holds, read
from backbeat_django.outbox import KEYS, Mirrored, roots, with_heirs


@checks.register("backbeat")
def check_settings(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """Everything that is wrong with `BACKBEAT`, and what is not seen of the application's writes."""
    found, faults = read(getattr(settings, "BACKBEAT", None))
    if found is None:
        return [checks.Error(str(fault), hint=fault.mend, id="backbeat.E001") for fault in faults]
    return [*_databases(found), *_visibilities(found), *_unseen(found), *_bare(found)]


def _databases(found: Map) -> list[checks.CheckMessage]:
    """An outbox in another database than the row cannot be in the row's transaction."""
    return [
        checks.Error(
            f"{kind.model._meta.label} is written to the database {database!r}, the outbox to {found.database!r}",
            hint="An entry is to be in its row's own transaction: set BACKBEAT[\"DATABASE\"] to the models' database.",
            id="backbeat.E002",
        )
        for kind in found
        if (database := router.db_for_write(kind.model)) != found.database
    ]


def _visibilities(found: Map) -> list[checks.CheckMessage]:
    """A post whose visibility is not known would be hidden."""
    if "post" not in found or "visibility" not in found["post"].fields:
        return []
    kind = found["post"]
    field: Any = kind.model._meta.get_field(kind.fields["visibility"].split("__")[0])
    known = {*VISIBILITIES, *kind.values}
    return [
        checks.Error(
            f'BACKBEAT["POST"] does not say what the visibility {value!r} is; such posts would be hidden',
            hint=f'Add "values": {{{value!r}: "public"}} (or "followers", or "hidden") to it.',
            id="backbeat.E003",
        )
        for value, _ in field.flatchoices or []
        if value not in known
    ]


def _unseen(found: Map) -> list[checks.CheckMessage]:
    """A manager with a query set of its own writes past the outbox in bulk."""
    unseen = {
        f"{model._meta.label}.{manager.name}": None  # each once: reposts, say, are a kind of their own, and posts
        for kind in found
        if kind.name in KEYS
        for model in (*with_heirs(kind.model), *(root for root, _ in roots(kind.model)))
        for manager in model._meta.managers
        if not isinstance(manager.get_queryset(), Mirrored)
    }
    return [
        checks.Warning(
            f"bulk_create and update of {name} are not seen when they happen",
            hint="Let its query set inherit backbeat_django.outbox.MirroredQuerySet; until then "
            "`manage.py backbeat_diff --repair` finds what they did.",
            id="backbeat.W001",
        )
        for name in unseen
    ]


def _bare(found: Map) -> list[checks.CheckMessage]:
    """A column of texts that no relation says are keys of members may as well hold their names."""
    key = found["user"].model._meta.pk
    return [
        checks.Warning(
            f'BACKBEAT["{kind.name.upper()}"]: {ours!r} is {path!r}, a plain column of texts, and users have numbers',
            hint="Name a relation to the users; a column is right only if it holds their primary keys.",
            id="backbeat.W002",
        )
        for kind in found
        for ours, path in kind.fields.items()
        if LEADS_TO.get(ours) == "user" and holds(follow(kind.model, path)[-1]) == "a text" and holds(key) == "a number"
    ]
