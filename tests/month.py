"""`make month`: a month is played beside Django, and its rows are compared with queries that know nothing of Backbeat.

The example's network, on SQLite and on tables in memory: what there is is imported; then, hour by hour, people write at
random (always the same, by a seed), the relay carries it over, and every task but the emails runs at its times (the
hourly one every six hours, until the last two days), by the messages that it sends itself. Each day the results are
pulled. In the end Django's own rows are to be what Django's own queries say, and the program fails where they are not.
"""

import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("examples/django", "tests/django_projects")]
os.environ["DJANGO_SETTINGS_MODULE"] = "bridge_settings"

import django  # noqa: E402 - it is set up by what stands above

django.setup()

import boto3  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db.models import Count, F, Q  # noqa: E402
from network.models import Comment, Follow, Hashtag, Like, Member, Notification, Post, Share  # noqa: E402
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken  # noqa: E402

import backbeat_testing  # noqa: E402
from backbeat import queues, tasks  # noqa: E402
from backbeat.messages import Message, parse  # noqa: E402
from backbeat.producer import Task  # noqa: E402
from backbeat.runtime import Run  # noqa: E402
from backbeat_django import comparing, importing, relay  # noqa: E402
from backbeat_django.mapping import mapping  # noqa: E402
from backbeat_django.models import Board, Entry  # noqa: E402
from backbeat_django.pulling import pull  # noqa: E402
from backbeat_testing.cloud import Context, _function  # noqa: E402

DAYS = 38
"""A month, and the week until what was hidden on the first Sunday is deleted."""
TAGS = ("bees", "roses", "tea", "snow", "jazz", "bread")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SCHEDULE: tuple[tuple[Task[Any], int | None, int | None], ...] = (
    (tasks.update_trending_hashtags, None, None),
    (tasks.cleanup_old_posts, 1, 6),
    (tasks.cleanup_expired_tokens, 2, None),
    (tasks.update_user_statistics, 3, None),
    (tasks.generate_content_analytics, 4, None),
    (tasks.update_post_engagement_scores, 5, None),
)
"""Each task with the hour and the day of the week (Sunday is 6) of its schedule, where it has them."""


class Month:
    """The network, its people, and the clock.

    Attributes:
        now: What time it is.
        told: How many notifications each member was sent.
        tokens: By the id of each token that was ever made, when it ends.
        away: The tokens whose owner was away for 30 days at a clean-up, and which were not banned.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.begin, self.now = today - DAYS * DAY, today - DAYS * DAY
        self.told: Counter[int] = Counter()
        self.tokens: dict[str, datetime] = {}
        self.away: set[str] = set()
        self.did: Counter[str] = Counter()

    # What people do

    def before(self) -> None:
        """What is there before anything is installed."""
        for number in range(40):
            self.join(f"m{number}", self.now - DAY * self.random.randrange(2, 500))
        people = list(Member.objects.all())
        for _ in range(250):
            self.post(self.random.choice(people), self.now - DAY * self.random.expovariate(0.04))
        for number in range(12):  # what is old by now: forgotten, seen, or liked
            old = Post.objects.create(
                author=people[0], text=f"Long ago {number}", created_at=self.begin - 370 * DAY, views=number % 3 * 15
            )
            if number % 4 == 3:
                Like.objects.create(post=old, member=people[1], created_at=old.created_at)
        for _ in range(400):
            self.like_or_follow(self.now - DAY)

    def join(self, name: str, at: datetime) -> None:
        member = Member.objects.create_user(name, f"{name}@example.net")
        Member.objects.filter(pk=member.pk).update(date_joined=at, last_login=max(at, self.now - 20 * DAY))
        self.log_in(member, self.now - HOUR * self.random.randrange(48))

    def log_in(self, member: Member, at: datetime) -> None:
        Member.objects.filter(pk=member.pk).update(last_login=at)
        jti, ends = f"token-{len(self.tokens)}", at + DAY * self.random.choice((1, 7, 60))
        token = OutstandingToken.objects.create(jti=jti, user=member, token="-", created_at=at, expires_at=ends)
        self.tokens[jti] = ends
        if self.random.random() < 0.2:
            ban = BlacklistedToken.objects.create(token=token)
            BlacklistedToken.objects.filter(pk=ban.pk).update(blacklisted_at=at)

    def post(self, author: Member, at: datetime) -> Post:
        tag = self.random.choice(TAGS)
        return Post.objects.create(
            author=author, text=f"Something of #{tag}", created_at=at, views=self.random.randrange(30),
            visibility="followers" if self.random.random() < 0.1 else "public",
        )  # fmt: skip

    def like_or_follow(self, at: datetime) -> None:
        people, posts = self.people(), self.recent()
        one, other = self.random.sample(people, 2)
        if self.random.random() < 0.3:
            Follow.objects.get_or_create(follower=one, followed=other, defaults={"created_at": at})
        else:
            Like.objects.get_or_create(post=self.random.choice(posts), member=one, defaults={"created_at": at})

    def people(self) -> list[Member]:
        return list(Member.objects.order_by("pk"))

    def recent(self) -> list[Post]:
        return list(Post.objects.filter(created_at__gt=self.begin - 300 * DAY).order_by("pk"))

    def something(self) -> None:
        """One random thing that somebody does within the hour that begins."""
        choose, at = self.random, self.now + timedelta(minutes=self.random.randrange(60))
        people, posts = self.people(), self.recent()
        who, post = choose.choice(people), choose.choice(posts)
        what = choose.choices(
            ("like", "post", "comment", "share", "view", "log in", "edit", "unlike", "unfollow", "delete", "tell",
             "join", "leave"),
            (30, 12, 10, 4, 12, 10, 3, 6, 3, 2, 4, 2, 0.5),
        )[0]  # fmt: skip
        self.did[what] += 1
        match what:
            case "like":
                self.like_or_follow(at)
            case "post":
                self.post(who, at)
            case "comment":
                Comment.objects.create(post=post, author=who, text="Indeed", created_at=at)
            case "share":
                Share.objects.create(post=post, member=who, created_at=at)
            case "view":
                Post.objects.filter(pk__in=[each.pk for each in choose.sample(posts, 5)]).update(views=F("views") + 1)
            case "log in":
                self.log_in(who, at)
            case "edit":
                post.text = f"Rather #{choose.choice(TAGS)}"
                post.save()
            case "unlike":
                Like.objects.filter(member=who, post__in=posts[-40:]).delete()
            case "unfollow":
                Follow.objects.filter(pk__in=who.following.order_by("pk").values("pk")[:1]).delete()
            case "delete":
                post.delete()
            case "tell":
                tasks.send_notification.delay(str(who.pk), "news", "Something happened")
                self.told[who.pk] += 1
            case "join":
                self.join(f"new{self.did['join']}", at)
            case "leave":
                if who not in people[:2]:  # they have to do with what is old
                    who.delete()

    # What happens by itself

    def note_away(self) -> None:
        """Note whose tokens are to go, as they may log in again later."""
        since = self.now - 30 * DAY
        old = OutstandingToken.objects.filter(user__last_login__lt=since, created_at__lt=since)
        self.away |= set(old.filter(blacklistedtoken=None).values_list("jti", flat=True))

    def carry_over(self) -> None:
        with relay.writing() as writer:
            while relay.drain(writer, self.now):
                pass

    def play(self, days: int) -> Iterator[datetime]:
        """Let so many days go by, the last one without anybody; yield each."""
        for day in range(days):
            for hour in range(24):
                self.now = self.begin + day * DAY + hour * HOUR
                for task, at, weekday in SCHEDULE:
                    hourly = hour % 6 == 0 or day >= days - 2  # within a day of hours it counts all of the week again
                    if (hourly if at is None else at == hour) and weekday in (None, self.now.weekday()):
                        if task is tasks.cleanup_expired_tokens:
                            self.note_away()
                        send(task, self.now)
                if day < days - 1:
                    for _ in range(self.random.randrange(6)):
                        self.something()
                self.now += HOUR - timedelta(seconds=1)
                self.carry_over()
                work(tasks.send_notification)
            if day == 12:
                Post.objects.filter(text="Long ago 0").update(views=99)  # it is hidden by then
            pull()
            self.carry_over()  # what the pull has deleted
            yield self.now


def send(task: Task[Any], at: datetime, **kwargs: Any) -> None:
    """Run a task as if its schedule had sent it, and all that it sends itself on."""
    handle(task, task.message(kwargs, at))
    work(task)


def work(task: Task[Any]) -> None:
    """Do what waits in a task's queue."""
    sqs = boto3.client("sqs")
    url = queues.queue_url(task.queue)
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            handle(task, parse(message["Body"], task.name, message["MessageId"], datetime.now(UTC)))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def handle(task: Task[Any], message: Message) -> None:
    """Call a task's function."""
    _function(task.name).handle(**task.parse(message.kwargs), run=Run(task, message, Context()))  # type: ignore[arg-type]


# What Django's own queries say


def counts(month: Month) -> Iterator[tuple[object, object]]:
    for member in Member.objects.annotate(
        a=Count("followers", distinct=True), b=Count("following", distinct=True), c=Count("posts", distinct=True)
    ):
        yield (member.followers_count, member.following_count, member.posts_count), (member.a, member.b, member.c)


def scores(month: Month) -> Iterator[tuple[object, object]]:
    scored = month.begin + (DAYS - 1) * DAY + 5 * HOUR
    for post in Post.objects.annotate(
        a=Count("likes", distinct=True), b=Count("comments", distinct=True), c=Count("shares", distinct=True)
    ):
        points = post.a * 3 + post.b * 5 + post.c * 7 + post.views
        yield post.score, points * max(1, 10 - max(0, (scored - post.created_at).days)) / 10


def trends(month: Month) -> Iterator[tuple[object, object]]:
    """All tags that two people used in the week are on the board, as they are fewer than it holds."""
    until = month.now.replace(minute=0, second=0)
    users, posts = defaultdict(set), Counter[str]()
    week = Q(created_at__gte=until - 7 * DAY, created_at__lt=until, is_hidden=False, visibility="public")
    for author, text in Post.objects.filter(week).values_list("author", "text"):
        for word in text.split():
            if word.startswith("#"):
                users[word[1:]].add(author)
                posts[word[1:]] += 1
    wanted = {tag: (len(users[tag]), posts[tag]) for tag in users if len(users[tag]) > 1}
    board = Board.objects.get(name="trending").value
    yield {each["tag"]: (each["authors"], each["posts"]) for each in board}, wanted
    for tag in Hashtag.objects.all():
        number = posts[tag.name] if tag.name in wanted else 0
        yield (tag.is_trending, tag.posts_count if tag.is_trending else 0), (tag.name in wanted, number)


def cleaned(month: Month) -> Iterator[tuple[object, object]]:
    """What nobody cared for in a year is hidden, and gone 30 days later; what somebody cared for is not."""
    old = Post.objects.filter(text__startswith="Long ago")
    forgotten = old.filter(views__lt=10, likes=None, comments=None, shares=None)
    yield forgotten.count(), 0
    yield old.filter(is_hidden=True).count(), 0
    yield old.count(), 10  # of twelve; three were forgotten, one of which was seen again
    yield Post.objects.exclude(pk__in=old).filter(is_hidden=True).count(), 0


def tokens(month: Month) -> Iterator[tuple[object, object]]:
    """Whatever had ended by the last clean-up is gone; so is what was made before their owner was away for 30 days."""
    cleaned_at = month.begin + (DAYS - 1) * DAY + 2 * HOUR
    there = set(OutstandingToken.objects.values_list("jti", flat=True))
    for jti, ends in month.tokens.items():
        yield jti in there, ends > cleaned_at and jti not in month.away


def reports(month: Month) -> Iterator[tuple[object, object]]:
    """The last days, which nobody has changed since they were reported."""
    for back in (2, 3, 4):
        day = (month.begin + (DAYS - back) * DAY).date()
        figures = Board.objects.get(name=f"report {day}").value
        for name, rows in (("posts", Post), ("comments", Comment)):
            yield figures[f"{name}_created"], rows.objects.filter(created_at__date=day).count()  # type: ignore[attr-defined]
        yield figures["users_created"], Member.objects.filter(date_joined__date=day).count()


def notifications(month: Month) -> Iterator[tuple[object, object]]:
    told = {pk: month.told[pk] for pk in Member.objects.values_list("pk", flat=True)}
    rows = Notification.objects.values_list("member").annotate(number=Count("pk"))
    yield dict(rows), {pk: number for pk, number in told.items() if number}


def kinds() -> list[str]:
    """The kinds that are compared."""
    return [kind for kind in importing.ORDER if kind in mapping()]


def both_sides(month: Month) -> Iterator[tuple[object, object]]:
    yield [f"{each.kind} {each.key}: {each.what}" for each in comparing.differences(kinds())], []
    yield list(Entry.objects.values_list("kind", "key", "error")), []


CHECKS = {
    "counts of members": counts,
    "scores of posts": scores,
    "trending hashtags": trends,
    "posts cleaned up": cleaned,
    "tokens": tokens,
    "daily reports": reports,
    "notifications": notifications,
    "both sides": both_sides,
}
SHOWN = 5


def main() -> int:
    """Play the month, and say what differs."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    month, started = Month(seed), time.monotonic()
    call_command("migrate", run_syncdb=True, verbosity=0)
    with backbeat_testing.cloud():
        month.before()
        Hashtag.objects.bulk_create([Hashtag(name=tag) for tag in TAGS])
        Entry.objects.all().delete()  # it was there before the bridge was
        with relay.writing() as writer:
            importing.import_all(writer)
        for task, _, _ in SCHEDULE:
            send(task, month.now, full=True)
        pull()
        comparing.repair(list(comparing.differences(kinds())), month.now)  # as the guide says: counts that were wrong
        for number, _ in enumerate(month.play(DAYS), 1):
            if number % 7 == 0:
                say(f"{number} days, {sum(month.did.values()):,} things done, {time.monotonic() - started:.0f} s")
        wrong = 0
        for name, check in CHECKS.items():
            pairs = list(check(month))
            differ = [(ours, theirs) for ours, theirs in pairs if ours != theirs]
            wrong += len(differ)
            say(f"{name:20} {len(pairs):6,} compared {len(differ):6,} differ")
            for ours, theirs in differ[:SHOWN]:
                say(f"    {ours!r} is here, and {theirs!r} was to be")
    say(f"seed {seed}: {'something differs' if wrong else 'nothing differs'}, after {time.monotonic() - started:.0f} s")
    return int(wrong > 0)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
