"""A small social network on its own database, as any Django project has one."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone


class Member(AbstractUser):
    """Somebody who has signed up; the counts are what `update_user_statistics` makes of them."""

    wants_digest = models.BooleanField(default=True)
    email_status = models.CharField(max_length=20, default="ok")
    followers_count = models.PositiveIntegerField(default=0)
    following_count = models.PositiveIntegerField(default=0)
    posts_count = models.PositiveIntegerField(default=0)


class Hashtag(models.Model):
    """A hashtag, and whether it is trending."""

    name = models.CharField(max_length=100, unique=True)
    is_trending = models.BooleanField(default=False)
    posts_count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"#{self.name}"


class Post(models.Model):
    """A post, and what the tasks make of it: its score, its pictures, and whether it is hidden."""

    author = models.ForeignKey(Member, models.CASCADE, related_name="posts")
    text = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    visibility = models.CharField(
        max_length=10, default="public", choices=[("public", "everybody"), ("followers", "my followers")]
    )
    views = models.PositiveIntegerField(default=0)
    is_hidden = models.BooleanField(default=False)
    score = models.FloatField(default=0)
    media = models.JSONField(default=dict, blank=True)
    media_status = models.CharField(max_length=10, blank=True)
    media_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at", "-pk")
        get_latest_by = "created_at"

    def __str__(self) -> str:
        return self.text[:40]


class Comment(models.Model):
    """A comment on a post."""

    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    author = models.ForeignKey(Member, models.CASCADE, related_name="comments")
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("created_at",)

    def __str__(self) -> str:
        return self.text[:40]


class Like(models.Model):
    """Somebody likes a post."""

    post = models.ForeignKey(Post, models.CASCADE, related_name="likes")
    member = models.ForeignKey(Member, models.CASCADE, related_name="likes")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["post", "member"], name="one_like_each")]

    def __str__(self) -> str:
        return f"{self.member} likes {self.post}"


class Share(models.Model):
    """Somebody passes a post on."""

    post = models.ForeignKey(Post, models.CASCADE, related_name="shares")
    member = models.ForeignKey(Member, models.CASCADE, related_name="shares")
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.member} shares {self.post}"


class Follow(models.Model):
    """Somebody follows somebody."""

    follower = models.ForeignKey(Member, models.CASCADE, related_name="following")
    followed = models.ForeignKey(Member, models.CASCADE, related_name="followers")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["follower", "followed"], name="one_follow_each")]

    def __str__(self) -> str:
        return f"{self.follower} follows {self.followed}"


class Notification(models.Model):
    """Something a member is told; `send_notification` makes it, and the pull brings it here."""

    backbeat_id = models.CharField(max_length=250, unique=True)
    member = models.ForeignKey(Member, models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=40)
    text = models.TextField()
    link = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.text[:40]
