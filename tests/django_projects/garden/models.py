"""Another network: UUIDs, many-to-many likes and follows, hashtags as rows, a profile, rows that are deleted softly."""

import uuid

from django.core.files.storage import InMemoryStorage
from django.db import models


class Person(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    nick = models.CharField(max_length=40)
    mail = models.EmailField()
    joined = models.DateField()
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followed_by")
    fans = models.IntegerField(default=0)


class Profile(models.Model):
    person = models.OneToOneField(Person, models.CASCADE, related_name="profile")
    language = models.CharField(max_length=10, default="en")


class Tag(models.Model):
    name = models.CharField(max_length=40)


class Note(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    writer = models.ForeignKey(Person, models.CASCADE)
    body = models.TextField()
    made = models.DateTimeField()
    audience = models.CharField(max_length=10, default="all")
    tags = models.ManyToManyField(Tag, related_name="notes")
    liked_by = models.ManyToManyField(Person, related_name="liked")
    points = models.IntegerField(default=0)
    gone_at = models.DateTimeField(null=True)


def by_day(sketch: "Sketch", name: str) -> str:
    return f"posts/images/{sketch.note.made:%Y/%m/%d}/{name}"


class Sketch(models.Model):
    note = models.ForeignKey(Note, models.CASCADE, related_name="sketches")
    image = models.FileField(upload_to=by_day, storage=InMemoryStorage())
