"""A network as many are that run on Celery; docs/migrating-from-celery.md moves it."""

import uuid

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.files.storage import InMemoryStorage
from django.db import models


class Account(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)  # by which they sign in
    full_name = models.CharField(max_length=80)
    date_joined = models.DateTimeField()
    is_active = models.BooleanField(default=True)
    last_login = models.DateTimeField(null=True)
    followers_count = models.PositiveIntegerField(default=0)


class Hashtag(models.Model):
    name = models.CharField(max_length=40)


class Reaction(models.Model):
    account = models.ForeignKey(Account, models.CASCADE)
    kind = models.CharField(max_length=10, default="like")
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=36)
    target = GenericForeignKey()
    created_at = models.DateTimeField(auto_now_add=True)


def image_path(post: "Post", name: str) -> str:
    return f"posts/images/{post.author_id}/{name}"


class Post(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    author = models.ForeignKey(Account, models.CASCADE, related_name="posts")
    content = models.TextField()
    image = models.FileField(upload_to=image_path, storage=InMemoryStorage(), blank=True)
    hashtags = models.ManyToManyField(Hashtag)
    reactions = GenericRelation(Reaction)
    created_at = models.DateTimeField()
    is_deleted = models.BooleanField(default=False)
    engagement_score = models.FloatField(default=0)
    repost_of = models.ForeignKey("self", models.SET_NULL, null=True, related_name="reposts")


class LongVideos(models.Manager["Video"]):
    def get_queryset(self) -> models.QuerySet["Video"]:
        return super().get_queryset().filter(seconds__gte=60)


class Video(Post):
    seconds = models.IntegerField(default=0)
    long = LongVideos()


class Clip(Video):
    pass


class Repost(Post):
    class Meta:
        proxy = True


class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    author = models.ForeignKey(Account, models.CASCADE)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)


class Follow(models.Model):
    follower = models.ForeignKey(Account, models.CASCADE, related_name="following")
    following = models.ForeignKey(Account, models.CASCADE, related_name="followers")
    created_at = models.DateTimeField(auto_now_add=True)
