"""What the people of the example's network do in a day, phase by phase; it is run beside the relay."""

from datetime import UTC, datetime, timedelta

from django.db.models import F
from network.models import Comment, Follow, Like, Member, Post, Share

from backbeat.tasks import send_notification

NOW = datetime.now(UTC)


def before() -> None:
    """What is there before anything is installed: the bridge has not seen it."""
    people = [Member.objects.create_user(f"m{n}", f"m{n}@example.net") for n in range(12)]
    for number in range(24):
        made = NOW - timedelta(days=number, hours=3)
        post = Post.objects.create(author=people[number % 12], text=f"#day {number}", created_at=made, views=number)
        for liker in people[: number % 5]:
            Like.objects.create(post=post, member=liker, created_at=made)
    Post.objects.create(author=people[0], text="long ago", created_at=NOW - timedelta(days=400))
    for number in range(11):
        Follow.objects.create(follower=people[number], followed=people[number + 1])


def morning() -> None:
    """New people, posts and likes; a message to a task."""
    for number in range(5):
        new = Member.objects.create_user(f"new{number}", f"new{number}@example.net")
        post = Post.objects.create(author=new, text=f"Good morning #coffee {number}", created_at=NOW)
        Comment.objects.create(post=post, author=Member.objects.get(username="m1"), text="Hi", created_at=NOW)
        Follow.objects.create(follower=new, followed=Member.objects.get(username="m0"))
    send_notification.delay(str(new.pk), "follow", "Somebody follows you")
    Post.objects.filter(author__username="m2").update(views=F("views") + 7)


def noon() -> None:
    """Things are changed, and taken back."""
    Like.objects.filter(member__username="m0").delete()
    Follow.objects.filter(follower__username="m3").delete()
    post = Post.objects.filter(author__username="m4").latest()
    post.text = "edited #tea"
    post.save()
    Share.objects.create(post=post, member=Member.objects.get(username="m5"))
    Member.objects.filter(username="m6").update(email="six@example.org", wants_digest=False)
    Post.objects.filter(author__username="m7").latest().delete()


def evening() -> None:
    """Somebody leaves, and everybody likes one post."""
    Member.objects.get(username="m8").delete()
    post = Post.objects.filter(author__username="m9").latest()
    everybody = Member.objects.all()
    Like.objects.bulk_create([Like(post=post, member=member) for member in everybody], ignore_conflicts=True)
    Post.objects.bulk_create([Post(author=member, text="Good night", created_at=NOW) for member in everybody])
