"""The network's pages."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from backbeat.app.uploads import presigned_upload
from backbeat.tasks import send_notification, send_welcome_email
from backbeat_django.connecting import connected
from network.forms import CommentForm, PostForm, SignUpForm
from network.models import Follow, Hashtag, Like, Member, Post, Share


def visible_to(member: Any) -> QuerySet[Post]:
    """The posts that a member may see, with what the page says of each."""
    mine = Q(author=member.pk)
    followed = Q(visibility="followers", author__followers__follower=member.pk)
    posts = Post.objects.filter(Q(visibility="public") | mine | followed, is_hidden=False).distinct()
    liked = Like.objects.filter(post=OuterRef("pk"), member=member.pk)
    counted = posts.annotate(
        likes_count=Count("likes", distinct=True), shares_count=Count("shares", distinct=True), liked=Exists(liked)
    )
    return counted.select_related("author").prefetch_related("comments__author")


@require_GET
def feed(request: HttpRequest) -> HttpResponse:
    """The newest posts, and what is trending."""
    posts = visible_to(request.user)[:50]
    trending = Hashtag.objects.filter(is_trending=True).order_by("-posts_count")
    return render(
        request, "network/feed.html",
        {"posts": posts, "trending": trending, "form": PostForm(), "comment_form": CommentForm()},
    )  # fmt: skip


def sign_up(request: HttpRequest) -> HttpResponse:
    """Join; a welcome is sent, in the same transaction as the member is made."""
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            member = form.save()
            send_welcome_email.delay(user_id=str(member.pk))
        login(request, member)
        return redirect("feed")
    return render(request, "network/sign_up.html", {"form": form})


@login_required
@require_POST
def publish(request: HttpRequest) -> HttpResponse:
    """Make a post; where the browser has a picture, answer with the form that takes it."""
    form = PostForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    post = form.save(commit=False)
    post.author = request.user
    post.save()
    for name in request.POST.get("hashtags", "").split():
        Hashtag.objects.get_or_create(name=name)
    picture = request.POST.get("picture")
    if not picture:
        return JsonResponse({"post": post.pk})
    connected()
    post.media_status = "waiting"
    post.save(update_fields=["media_status"])
    return JsonResponse({"post": post.pk, "upload": presigned_upload(str(post.pk), picture)})


@require_GET
def show(request: HttpRequest, pk: int) -> HttpResponse:
    """One post, which is one view more."""
    Post.objects.filter(pk=pk).update(views=F("views") + 1)
    post = get_object_or_404(visible_to(request.user), pk=pk)
    return render(request, "network/show.html", {"post": post, "comment_form": CommentForm()})


@login_required
@require_POST
def like(request: HttpRequest, pk: int) -> HttpResponse:
    """Like a post, or no longer; its author is told."""
    post = get_object_or_404(visible_to(request.user), pk=pk)
    made, new = Like.objects.get_or_create(post=post, member=request.user)
    if not new:
        made.delete()
    elif post.author != request.user:
        text = f"{request.user} likes your post"
        send_notification.delay(str(post.author_id), "like", text, f"/posts/{post.pk}/")
    return redirect(request.POST.get("next") or "feed")


@login_required
@require_POST
def share(request: HttpRequest, pk: int) -> HttpResponse:
    """Pass a post on."""
    Share.objects.create(post=get_object_or_404(visible_to(request.user), pk=pk), member=request.user)
    return redirect("feed")


@login_required
@require_POST
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    """Comment on a post."""
    post = get_object_or_404(visible_to(request.user), pk=pk)
    form = CommentForm(request.POST)
    if form.is_valid():
        made = form.save(commit=False)
        made.post, made.author = post, request.user
        made.save()
    return redirect("show", pk=pk)


@login_required
@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a post of one's own."""
    get_object_or_404(Post, pk=pk, author=request.user).delete()
    messages.info(request, "Your post is gone.")
    return redirect("feed")


@require_GET
def profile(request: HttpRequest, username: str) -> HttpResponse:
    """Somebody, and what they have posted."""
    member = get_object_or_404(Member, username=username)
    followed = request.user.is_authenticated and Follow.objects.filter(follower=request.user, followed=member).exists()
    posts = visible_to(request.user).filter(author=member)
    context = {"member": member, "posts": posts, "followed": followed, "comment_form": CommentForm()}
    return render(request, "network/profile.html", context)


@login_required
@require_POST
def follow(request: HttpRequest, username: str) -> HttpResponse:
    """Follow somebody, or no longer."""
    member = get_object_or_404(Member.objects.exclude(pk=request.user.pk), username=username)
    made, new = Follow.objects.get_or_create(follower=request.user, followed=member)
    if new:
        send_notification.delay(str(member.pk), "follow", f"{request.user} follows you", f"/members/{request.user}/")
    else:
        made.delete()
    return redirect("profile", username=username)


@login_required
def notifications(request: HttpRequest) -> HttpResponse:
    """What one was told, and whether one wants the digest."""
    if request.method == "POST":
        request.user.wants_digest = "wants_digest" in request.POST
        request.user.save(update_fields=["wants_digest"])
        messages.info(request, "Saved.")
        return redirect("notifications")
    return render(request, "network/notifications.html", {"notifications": request.user.notifications.all()[:50]})
