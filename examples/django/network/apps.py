"""The network's application."""

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    """The network."""

    name = "network"
    default_auto_field = "django.db.models.BigAutoField"
