"""The Django application: its checks, and the watch over the models that are mirrored."""

from django.apps import AppConfig

from backbeat.producer import hand_over_to
from backbeat_django.mapping import NotMapped, mapping


class BackbeatConfig(AppConfig):
    """`backbeat_django` in `INSTALLED_APPS`."""

    name = "backbeat_django"
    verbose_name = "Backbeat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and watch what the settings map; what is wrong with them the checks say."""
        from backbeat_django import checks, outbox  # noqa: F401 - they need the applications to be loaded

        mapping.cache_clear()
        try:
            outbox.watch(mapping())
        except NotMapped:
            return
        hand_over_to(outbox.send_later)
