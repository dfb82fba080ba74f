"""What visitors fill in."""

from django import forms
from django.contrib.auth.forms import UserCreationForm

from network.models import Comment, Member, Post


class SignUpForm(UserCreationForm):
    """A new member."""

    class Meta:
        model = Member
        fields = ("username", "email")


class PostForm(forms.ModelForm):
    """A new post; its picture goes from the browser straight to the uploads bucket."""

    class Meta:
        model = Post
        fields = ("text", "visibility")
        widgets = {"text": forms.Textarea(attrs={"rows": 3, "placeholder": "What is new? #hashtags welcome"})}


class CommentForm(forms.ModelForm):
    """A new comment."""

    class Meta:
        model = Comment
        fields = ("text",)
        widgets = {"text": forms.TextInput(attrs={"placeholder": "Say something"})}
