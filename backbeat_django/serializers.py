"""For Django REST framework: pictures as a client shows them, without another look-up."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from backbeat_django.media import shown


class MediaField(serializers.Field):  # type: ignore[misc]
    """`post.media` as a list: of each upload its size, its `src` and `srcset`, and its blurhash to show meanwhile."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, read_only=True)

    def to_representation(self, value: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The entries, in the order of their uploads' names."""
        return shown(value)
