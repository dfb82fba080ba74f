"""A network as tutorials make them: everything hangs on a profile, and the user has only the password."""

from django.conf import settings
from django.db import models


class Card(models.Model):
    member = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="card")
    first_name = models.CharField(max_length=100)
    friends = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="friends")
    made = models.DateTimeField(auto_now_add=True)


class Notice(models.Model):
    author = models.ForeignKey(Card, models.CASCADE, related_name="notices")
    liked = models.ManyToManyField(Card, related_name="likes")
    text = models.TextField()
    draft = models.BooleanField(default=False)
    made = models.DateTimeField(auto_now_add=True)


class Remark(models.Model):
    author = models.ForeignKey(Card, models.SET_NULL, null=True)
    notice = models.ForeignKey(Notice, models.CASCADE, related_name="remarks")
    text = models.TextField()
    made = models.DateTimeField(auto_now_add=True)
