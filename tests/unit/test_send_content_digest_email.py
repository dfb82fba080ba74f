"""The digest: who gets it, what it holds, and that nobody gets two however often it crashes, repeats or is resumed."""

import itertools
import json
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import permissions
import pytest
from support import STACK, Calls, Context, Killed, Outbox, Queue, answers, event, function_environment

import send_content_digest_email as module
from backbeat import ledger, sweeps
from backbeat.mail import deliveries, digest, sending
from backbeat.mail.sending import Site
from backbeat.messages import iso
from backbeat.models import Delivery, DigestSelection, Follow, Post, SweepPart, User, day_key
from send_content_digest_email import handle

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
PLAN = {"task": "send_content_digest_email", "kwargs": {}, "scheduled_time": NOW.isoformat()}
DAY = timedelta(days=1)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("backbeat.mail.sending.time", clock)
    return clock


@pytest.fixture
def queue(outbox: Outbox, clock: Clock, one_shard: None, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    for name, value in function_environment("SendContentDigestEmailFunction").items():
        if name != "UNSUBSCRIBE_URL":
            monkeypatch.setenv(name, value)
    return Queue(f"{STACK}-emails-send_content_digest_email")


def member(user_id: str, logged_in: datetime | None = NOW - DAY, **more: Any) -> User:
    login = {"last_login_at": logged_in, "login_day": day_key(logged_in, user_id)} if logged_in else {}
    user = User(
        user_id, **{"name": user_id.title(), "email": f"{user_id}@example.net", "created_at": NOW, **login, **more}
    )
    user.save()
    return user


def author(user_id: str = "zoe") -> User:
    """Somebody who posts, and has not been around since."""
    return member(user_id, None)


def post(post_id: str, author_id: str = "zoe", likes: int = 0, comments: int = 0, **more: Any) -> Post:
    made = more.pop("created_at", NOW - DAY)
    text = more.pop("text", f"This is {post_id}")
    post = Post.new(post_id, author_id=author_id, text=text, created_at=made, **more)
    post.likes_count, post.comments_count = likes, comments
    post.save()
    return post


def drain(queue: Queue, context: Context | None = None) -> None:
    for _ in range(60):
        if not queue.depth()[0]:
            return
        queue.deliver(handle, context)
    pytest.fail("the queue does not run empty")


def result() -> Any:
    runs = [run for run in ledger.recent("send_content_digest_email", NOW.date(), 99) if "@" in run.run_id]
    (run,) = runs
    return run.result if run.outcome == "succeeded" else (run.outcome, run.error)


def test_active_users_get_the_weeks_best(queue: Queue, outbox: Outbox) -> None:
    member("ada")
    member("bo", locale="fr")
    for number in range(12):
        author(f"author-{number}")
        post(f"post-{number:02}", f"author-{number}", likes=number)
    queue.send(PLAN)
    drain(queue)
    assert result() == {"sent": 2, "skipped": 0, "refused": 0, "unknown": 0}
    assert sorted(outbox.addresses()) == ["ada@example.net", "bo@example.net"]
    (english,) = [mail for mail in outbox.mails if mail.to == "ada@example.net"]
    text = english.part("plain")
    assert [line for line in text.splitlines() if line.startswith("This is")] == [
        f"This is post-{number:02}" for number in range(11, 1, -1)
    ]
    assert "https://example.com/posts/post-11" in text
    (french,) = [mail for mail in outbox.mails if mail.to == "bo@example.net"]
    assert french.message["Subject"] == "Votre semaine sur Backbeat : 10 publications à découvrir"
    assert Delivery.get("content_digest:2026-W45:ada").state == "sent"


def test_only_who_is_active_and_wants_it_gets_it(queue: Queue, outbox: Outbox) -> None:
    author()
    post("post-1")
    member("ada")
    member("on-the-dot", NOW - 7 * DAY)
    member("since", NOW + DAY)  # seen since, where the run is late
    for user_id, more in {
        "too-long-ago": {"logged_in": NOW - 7 * DAY - timedelta(seconds=1)},
        "long-ago": {"logged_in": NOW - 9 * DAY},
        "never": {"logged_in": None},
        "opted-out": {"digest": False},
        "bounced": {"email_status": "bounced"},
        "complained": {"email_status": "complained"},
        "gone": {"deleted_at": NOW},
    }.items():
        member(user_id, **more)  # type: ignore[arg-type]
    queue.send(PLAN)
    drain(queue)
    assert sorted(outbox.addresses()) == ["ada@example.net", "on-the-dot@example.net", "since@example.net"]
    assert result() == {"sent": 3, "skipped": 5, "refused": 0, "unknown": 0}


def test_likes_come_first_then_comments_and_only_public_posts_of_the_week_count(queue: Queue) -> None:
    post("liked", likes=5)
    post("discussed", likes=4, comments=9)
    post("older", likes=4, comments=2, created_at=NOW - 2 * DAY)
    post("newer", likes=4, comments=2)
    post("on-the-dot", likes=1, created_at=NOW - 7 * DAY)
    post("last-week", likes=99, created_at=NOW - 7 * DAY - timedelta(seconds=1))
    post("next-week", likes=99, created_at=NOW)
    post("friends-only", likes=99, visibility="followers")
    post("hidden", likes=99, visibility="hidden")
    assert digest.choose(NOW) == ["liked", "discussed", "newer", "older", "on-the-dot"]


def test_the_thousand_best_and_no_more(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert digest.MOST_POSTS == 1_000
    monkeypatch.setattr(digest, "MOST_POSTS", 3)
    for number in range(5):
        post(f"post-{number}", likes=number)
    assert digest.choose(NOW) == ["post-4", "post-3", "post-2"]


def test_those_one_follows_come_first(queue: Queue) -> None:
    for user_id in ("bo", "cy"):
        member(user_id)
    for number in range(12):
        author(f"author-{number:02}")
        post(f"post-{number:02}", f"author-{number:02}", likes=100 + number)
    post("bo-1", "bo", likes=1)
    post("cy-1", "cy", likes=2)
    Follow("reader", "bo", created_at=NOW).save()
    Follow("reader", "cy", created_at=NOW).save()
    entries = digest.pick("reader", digest.load(NOW), Site.of(os.environ))
    assert [(entry.author, entry.followed) for entry in entries[:3]] == [
        ("Cy", True),
        ("Bo", True),
        ("Author-11", False),
    ]
    assert len(entries) == digest.POSTS_EACH
    assert entries[2].url == "https://example.com/posts/post-11"


def test_nobody_is_shown_their_own_posts(queue: Queue, outbox: Outbox) -> None:
    member("ada")
    member("bo")
    for number in range(10):
        post(f"post-{number}", "ada", likes=number)
    queue.send(PLAN)
    drain(queue)
    assert outbox.addresses() == ["bo@example.net"]
    assert result() == {"sent": 1, "skipped": 1, "refused": 0, "unknown": 0}


def test_one_author_takes_up_two_places_at_most(queue: Queue) -> None:
    for user_id in ("bo", "cy", "di"):
        author(user_id)
    for number in range(9):
        post(f"bo-{number}", "bo", likes=100 + number)
    post("cy-1", "cy", likes=1)
    for number in range(3):
        post(f"di-{number}", "di", likes=number)
    Follow("reader", "di", created_at=NOW).save()
    entries = digest.pick("reader", digest.load(NOW), Site.of(os.environ))
    assert [entry.url.rsplit("/", 1)[1] for entry in entries] == ["di-2", "di-1", "bo-8", "bo-7", "cy-1"]


def upload(key: str, *sizes: tuple[int, int], seconds: float | None = None) -> dict[str, Any]:
    """An entry of `post.media`, as process_media_upload writes it."""
    renditions = [
        {
            "key": f"posts/post-1/abc é/{max(size)}.{extension}",
            "role": "picture",
            "content_type": f"image/{form}",
            "width": size[0],
            "height": size[1],
            "bytes": 1,
        }
        for size in sizes
        for form, extension in (("webp", "webp"), ("jpeg", "jpg"))
    ]
    square = {"key": "s", "role": "square", "content_type": "image/jpeg", "width": 150, "height": 150, "bytes": 1}
    return {"upload": key, "recipe": "2", "format": "jpeg", "seconds": seconds, "renditions": [*renditions, square]}


def pictures(media: dict[str, Any]) -> list[Any]:
    author()
    post("post-1", text="", media=media)
    return [entry.picture for entry in digest.pick("reader", digest.load(NOW), Site.of(os.environ))]


def test_a_post_that_is_a_picture_only_shows_its_smallest_whole_one(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIA_BASE_URL", "https://media.example/")
    large, small, video = (1600, 1200), (240, 320), (320, 180)
    media = {"b": upload("posts/post-1/b.jpg", video, seconds=3), "a": upload("posts/post-1/a.jpg", large, small)}
    assert pictures(media) == [
        digest.Picture("https://media.example/posts/post-1/abc%20%C3%A9/320.jpg", 240, 320, of_video=False)
    ]


def test_a_small_upload_is_shown_as_it_is_and_a_video_by_its_poster(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIA_BASE_URL", "https://media.example")
    assert pictures({"a": upload("posts/post-1/a.mp4", (90, 60), seconds=0)}) == [
        digest.Picture("https://media.example/posts/post-1/abc%20%C3%A9/90.jpg", 90, 60, of_video=True)
    ]


def test_where_pictures_are_not_served_there_is_one_without_an_address(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIA_BASE_URL", "")
    assert pictures({"a": upload("posts/post-1/a.jpg", (320, 240))}) == [digest.Picture("", 320, 240, of_video=False)]


def broken(model: Any, key: str, **attributes: Any) -> None:
    """Overwrite attributes of a row with what no model would write."""
    row = model._get_connection().get_item(key)["Item"]
    with permissions.by_another():
        boto3.client("dynamodb").put_item(TableName=model.Meta.table_name, Item={**row, **attributes})


def test_a_post_or_an_author_that_cannot_be_read_is_left_out_alone(queue: Queue, outbox: Outbox) -> None:
    member("ada")
    for number in range(5):
        author(f"author-{number}")
        post(f"post-{number}", f"author-{number}")
    broken(Post, "post-0", created_at={"S": "yesterday"})
    broken(User, "author-1", created_at={"N": "5"})
    broken(Post, "post-2", media={"M": {"x": {"M": {"upload": {"S": "y"}}}}})
    queue.send(PLAN)
    drain(queue)
    (mail,) = outbox.mails
    lines = [line for line in mail.part("plain").splitlines() if line.startswith("This is")]
    assert sorted(lines) == ["This is post-3", "This is post-4"]


@pytest.mark.parametrize("text", ["", " \n", "\u3164"])
def test_a_post_with_nothing_to_show_is_left_out(queue: Queue, text: str) -> None:
    author()
    post("post-1", text=text)
    post("post-2", text="x")
    assert [entry.text for entry in digest.pick("reader", digest.load(NOW), Site.of(os.environ))] == ["x"]


def test_what_authors_wrote_is_cut_and_named_as_in_any_email(queue: Queue) -> None:
    member("bo", None, name="See https://evil.example")
    post("post-1", "bo", text="👨‍👩‍👧‍👦" * 40)
    (entry,) = digest.pick("reader", digest.load(NOW), Site.of(os.environ))
    assert (entry.author, entry.text) == ("", "👨‍👩‍👧‍👦" * 34 + "…")


# ---- More than one invocation reads ----------------------------------------------------------------------------------


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a few posts and users were very many."""
    monkeypatch.setattr(digest, "AT_ONCE", 3)
    monkeypatch.setattr(module, "LISTED", 2)
    monkeypatch.setattr(sweeps, "PAGE", 4)


def seeded() -> None:
    """Posts that differ in each of what they are ranked by, and users who logged in on four days."""
    for number in range(12):
        author(f"author-{number}")
    for number in range(24):
        made = NOW - DAY * (number % 6) - timedelta(hours=1)
        more = {"visibility": "followers"} if number == 7 else {}
        post(f"post-{number:02}", f"author-{number % 12}", number % 5, number % 3, created_at=made, **more)
    for number in range(9):
        member(f"user-{number}", NOW - DAY * (number % 4))
    Follow("user-0", "author-3", created_at=NOW).save()


def mails(outbox: Outbox) -> dict[str, list[str]]:
    """What each was shown, in order."""
    return {
        mail.to: [line for line in mail.part("plain").splitlines() if line.startswith("This is")]
        for mail in outbox.mails
    }


class NowAndThenShort(Context):
    """An invocation that is short of time each so many times that it is asked."""

    asked: Iterator[int] = itertools.count(1)
    every = 1_000

    def get_remaining_time_in_millis(self) -> int:
        return 60_000 if next(self.asked) % self.every else 31_000


@pytest.mark.parametrize("every", [1_000, 23])
def test_chosen_and_listed_in_parts_it_is_the_same_digest(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    seeded()
    chosen = digest.choose(NOW)
    shown = digest.load(NOW)
    expected = {f"user-{n}@example.net": digest.pick(f"user-{n}", shown, Site.of(os.environ)) for n in range(9)}
    monkeypatch.setattr(sweeps, "SECONDS_TO_STOP", 32)
    monkeypatch.setattr(module, "SECONDS_TO_STOP", 32)
    monkeypatch.setattr(digest, "AT_ONCE", 3)
    monkeypatch.setattr(module, "LISTED", 2)
    monkeypatch.setattr(sweeps, "PAGE", 3)
    queue.send(PLAN)
    context = NowAndThenShort()
    context.every = every
    drain(queue, context)
    assert result() == {"sent": 9, "skipped": 0, "refused": 0, "unknown": 0}
    assert DigestSelection.get("digest#2026-W45", "posts").post_ids == chosen
    assert mails(outbox) == {to: [entry.text for entry in entries] for to, entries in expected.items()}


@pytest.mark.usefixtures("wide")
def test_whoever_logs_in_while_users_are_listed_is_not_missed(queue: Queue, outbox: Outbox, calls: Calls) -> None:
    author()
    post("post-1")
    for number in range(5):
        member(f"user-{number}", NOW - 3 * DAY)

    def logs_in() -> None:
        member("user-4", NOW + DAY)

    queue.send(PLAN)
    queue.deliver(handle)
    calls.before("PutItem", "RunsTable", logs_in)  # when the first list is written
    drain(queue)
    assert sorted(outbox.addresses()) == [f"user-{number}@example.net" for number in range(5)]


@pytest.mark.usefixtures("wide")
def test_too_many_users_for_the_pace_are_refused_once_they_are_counted(queue: Queue, outbox: Outbox) -> None:
    seeded()
    outbox.quota = {"MaxSendRate": 0.00001, "Max24HourSend": 200.0, "SentLast24Hours": 0.0}
    queue.send(PLAN)
    drain(queue)
    assert result()[0] == "incomplete"
    (letter,) = queue.dead()
    assert (letter["reason"], outbox.mails) == ("too_slow", [])


@pytest.mark.usefixtures("wide")
def test_one_user_alone_is_not_what_all_posts_are_read_for(queue: Queue, outbox: Outbox) -> None:
    seeded()
    queue.send({**PLAN, "id": "one", "kwargs": {"user_id": "user-1"}})
    queue.deliver(handle)
    (letter,) = queue.dead()
    assert (letter["reason"], outbox.mails) == ("not_chosen", [])


def test_nobody_gets_an_empty_digest(queue: Queue, outbox: Outbox) -> None:
    member("ada")
    queue.send(PLAN)
    drain(queue)
    assert (outbox.mails, result()) == ([], {"sent": 0, "skipped": 0, "refused": 0, "unknown": 0})


def test_what_was_hidden_or_whose_author_left_is_not_shown(queue: Queue, outbox: Outbox) -> None:
    member("ada")
    member("bo")
    post("post-1", "ada", likes=9)
    post("post-2", "bo", likes=5)
    queue.send(PLAN)
    queue.deliver(handle)
    Post("post-1").update(actions=[Post.visibility.set("hidden")])
    User("bo").update(actions=[User.deleted_at.set(NOW)])
    drain(queue)
    assert (outbox.mails, result()) == ([], {"sent": 0, "skipped": 2, "refused": 0, "unknown": 0})


def test_posts_are_chosen_once_for_a_run(queue: Queue, outbox: Outbox) -> None:
    author()
    member("ada")
    post("post-1", likes=9)
    queue.send(PLAN)
    queue.deliver(handle)
    post("post-2", likes=99)
    drain(queue)
    (mail,) = outbox.mails
    assert "post-2" not in mail.part("plain")


def test_an_older_run_does_not_overwrite_what_a_newer_one_chose(queue: Queue) -> None:
    for now, chosen in ((NOW + DAY, ["new"]), (NOW, ["old"])):
        digest.keep(now, chosen, now + DAY)
    assert DigestSelection.get("digest#2026-W45", "posts").post_ids == ["new"]


def test_opting_out_counts_until_the_send(queue: Queue, outbox: Outbox) -> None:
    author()
    member("ada")
    member("bo")
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)
    User("bo").update(actions=[User.digest.set(False)])
    drain(queue)
    assert outbox.addresses() == ["ada@example.net"]


def test_a_user_gets_one_a_week_whichever_run_sends_it(queue: Queue, outbox: Outbox) -> None:
    author()
    member("ada")
    post("post-1")
    for run_id in ("first", "second"):
        queue.send({**PLAN, "id": f"{run_id}@"})
        drain(queue)
    assert len(outbox.mails) == 1
    results = {run.run_id: run.result for run in ledger.recent("send_content_digest_email", NOW.date(), 9)}
    assert (results["first@"]["sent"], results["second@"]["sent"], results["second@"]["skipped"]) == (1, 0, 1)


def crash(outbox: Outbox, monkeypatch: pytest.MonkeyPatch, step: str, at: int) -> None:
    """Have the process die at one step of mail number `at`."""
    target = {"claim": "claim", "send": "claim", "settle": "settle_sent"}[step]
    original, calls = getattr(deliveries, target), itertools.count()

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) != at:
            return original(*args, **kwargs)
        if step == "send":
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(deliveries, target, dying)


@pytest.mark.parametrize(("step", "mails", "unknown"), [("claim", 5, 0), ("send", 4, 1), ("settle", 5, 1)])
def test_a_run_that_crashed_goes_on_and_sends_nobody_two(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, step: str, mails: int, unknown: int
) -> None:
    monkeypatch.setattr(deliveries, "LEASE", timedelta(seconds=-1))
    for number in range(5):
        member(f"user-{number}")
    author()
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)
    (part,) = queue.receive()["Records"]
    with monkeypatch.context() as crashing:
        crash(outbox, crashing, step, at=2)
        with pytest.raises(Killed):
            handle.lambda_handler({"Records": [part]}, Context())
    for _ in range(2):  # it comes back, and once more
        assert handle.lambda_handler({"Records": [part]}, Context()) == {"batchItemFailures": []}
    assert result() == {"sent": 5 - unknown, "skipped": 0, "refused": 0, "unknown": unknown}
    assert len(outbox.addresses()) == len(set(outbox.addresses())) == mails
    missing = {f"content_digest:2026-W45:{to.split('@')[0]}" for to in outbox.addresses()}
    everybody = {f"content_digest:2026-W45:user-{number}" for number in range(5)}
    listed = {row.delivery_id for row in deliveries.unsettled(datetime.now(UTC))}
    assert everybody - missing <= listed
    assert len(listed) == unknown
    drain(queue)
    assert [(letter["reason"], json.loads(letter["body"])["kwargs"]) for letter in queue.dead()] == [
        ("unknown_delivery", {"user_id": "user-2"})
    ] * unknown


def test_an_unknown_one_is_settled_and_sent_from_its_dead_letter(queue: Queue, outbox: Outbox) -> None:
    author()
    member("ada")
    post("post-1")
    outbox.answer = answers(500, "InternalFailure")
    queue.send(PLAN)
    drain(queue)
    assert result() == {"sent": 0, "skipped": 0, "refused": 0, "unknown": 1}
    (letter,) = queue.dead()
    outbox.answer = lambda request: None
    deliveries.settle_by_hand("content_digest:2026-W45:ada", sent=False)
    for _ in range(2):
        queue.send(letter["body"])
        drain(queue)
    assert len(outbox.mails) == 2
    assert Delivery.get("content_digest:2026-W45:ada").state == "sent"


@pytest.mark.parametrize(
    "data",
    [
        {"email": "bo@[10"},
        {"email": "bo@example..net"},
        {"email": "bo@\U0001f98a.net"},
        {"email": "=?utf-8?q?bo?=@exam(ple.net"},
        {"email": "bö@example.net"},
    ],
    ids=lambda data: ascii(data["email"]),
)
def test_what_is_wrong_with_one_users_address_is_that_users_outcome(
    queue: Queue, outbox: Outbox, data: dict[str, Any]
) -> None:
    author()
    for name, more in (("ada", {}), ("bo", data), ("cy", {})):
        member(name, **more)
    post("post-1")
    queue.send(PLAN)
    drain(queue)
    assert result() == {"sent": 2, "skipped": 0, "refused": 1, "unknown": 0}
    assert outbox.addresses() == ["ada@example.net", "cy@example.net"]
    assert queue.dead() == []


def test_a_dot_at_the_end_of_a_domain_is_the_root_of_all_and_not_sent(queue: Queue, outbox: Outbox) -> None:
    author()
    for name, email in (("ada", "ada@example.net"), ("bo", " bo@example.net. "), ("cy", "cy@example.net")):
        member(name, email=email)
    post("post-1")
    queue.send(PLAN)
    drain(queue)
    assert result() == {"sent": 3, "skipped": 0, "refused": 0, "unknown": 0}
    assert outbox.addresses() == ["ada@example.net", "bo@example.net", "cy@example.net"]


@pytest.mark.parametrize(
    "row",
    [{"created_at": {"S": "yesterday"}}, {"name": {"N": "5"}}, {"email": {"NULL": True}}, {"soft_bounces": {"S": "x"}}],
    ids=lambda row: next(iter(row)),
)
def test_what_is_wrong_with_one_users_row_is_that_users_outcome(
    queue: Queue, outbox: Outbox, row: dict[str, Any]
) -> None:
    author()
    for name in ("ada", "bo", "cy"):
        member(name)
    broken(User, "bo", **row)
    post("post-1")
    queue.send(PLAN)
    drain(queue)
    assert result() == {"sent": 2, "skipped": 0, "refused": 1, "unknown": 0}
    assert outbox.addresses() == ["ada@example.net", "cy@example.net"]


def test_whatever_putting_a_mail_together_raises_is_that_users_outcome(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    author()
    for name in ("ada", "bo", "cy"):
        member(name)
    post("post-1")
    queue.send(PLAN)
    render = sending.render

    def failing(email: str, locale: str, site: Site, user: User, *more: Any, **context: Any) -> Any:
        if user.user_id == "bo":
            raise IndexError("string index out of range")
        return render(email, locale, site, user, *more, **context)

    monkeypatch.setattr(sending, "render", failing)
    drain(queue)
    assert result() == {"sent": 2, "skipped": 0, "refused": 1, "unknown": 0}
    assert outbox.addresses() == ["ada@example.net", "cy@example.net"]
    with pytest.raises(Delivery.DoesNotExist):
        Delivery.get("content_digest:2026-W45:bo")  # it was never claimed, so nobody wonders whether it was sent


def test_a_mail_that_is_refused_does_not_stop_the_others(queue: Queue, outbox: Outbox) -> None:
    author()
    member("ada", email="no address")
    member("bo")
    member("cy")
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)
    outbox.answer = lambda request: (
        answers(400, "MessageRejected", "no")(request) if outbox.mails[-1].to.startswith("bo") else None
    )
    drain(queue)
    assert result() == {"sent": 1, "skipped": 0, "refused": 2, "unknown": 0}


def test_an_account_that_may_not_send_holds_the_digest_up_and_loses_none(queue: Queue, outbox: Outbox) -> None:
    author()
    for name in ("ada", "bo"):
        member(name)
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)
    outbox.answer = answers(400, "MessageRejected", "Email address is not verified. The following identities failed")
    drain(queue)
    (letter,) = queue.dead()
    assert result()[0] == "incomplete"
    outbox.answer = lambda request: None
    queue.send(letter["body"])
    drain(queue)
    assert result() == {"sent": 2, "skipped": 0, "refused": 0, "unknown": 0}


def test_a_run_whose_mails_are_all_refused_has_failed_and_can_be_made_again(queue: Queue, outbox: Outbox) -> None:
    for number in range(11):
        member(f"user-{number}")
    author()
    post("post-1")
    queue.send(PLAN)
    outbox.answer = answers(400, "MessageRejected", "invalid content")
    drain(queue)
    outcome, error = result()
    assert outcome == "incomplete"
    assert "all 11 mails were refused" in error
    assert "backbeat run send_content_digest_email --at 2026-11-02T09:00:00Z" in error
    (letter,) = queue.dead()
    assert letter["reason"] == "all_refused"
    outbox.answer = lambda request: None
    queue.send({"task": "send_content_digest_email", "id": "by-hand", "kwargs": {}, "sent_at": NOW.isoformat()})
    drain(queue)
    assert len(set(outbox.addresses())) == 11
    assert {row.state for row in Delivery.scan()} == {"sent"}


def test_ten_refused_mails_are_ten_users_faults(queue: Queue, outbox: Outbox) -> None:
    for number in range(10):
        member(f"user-{number}")
    author()
    post("post-1")
    queue.send(PLAN)
    outbox.answer = answers(400, "MessageRejected", "invalid content")
    drain(queue)
    assert result() == {"sent": 0, "skipped": 0, "refused": 10, "unknown": 0}


class Invocation(Context):
    """An invocation whose time passes with a clock's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.ends, self.clock = clock.now + 300, clock

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self.ends - self.clock.now))


@pytest.mark.parametrize("interval", [60, 95, 119])
def test_a_part_at_a_slow_pace_is_done_within_its_hops(
    queue: Queue, outbox: Outbox, clock: Clock, interval: int
) -> None:
    """Mails that come a long time apart leave much of each invocation unused."""
    for number in range(40):
        member(f"user-{number:02}")
    author()
    post("post-1")
    outbox.quota["MaxSendRate"] = int(os.environ["DIGEST_SENDERS"]) / interval / module.SHARE
    queue.send(PLAN)
    while queue.depth()[0]:
        for record in queue.receive()["Records"]:  # each in an invocation of its own, as the batch size is 1
            assert handle.lambda_handler({"Records": [record]}, Invocation(clock)) == {"batchItemFailures": []}
            queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=record["receiptHandle"])
    assert result() == {"sent": 40, "skipped": 0, "refused": 0, "unknown": 0}
    parts = SweepPart.query(f"send_content_digest_email#sweep#send_content_digest_email@{iso(NOW)}")
    assert max(row.hops for row in parts) < sweeps.MOST_HOPS


def test_while_ses_refuses_everything_the_part_is_tried_again(queue: Queue, outbox: Outbox) -> None:
    author()
    member("ada")
    member("bo")
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)
    throttled = answers(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
    outbox.answer = lambda request: throttled(request) if len(outbox.mails) == 2 else None
    assert len(queue.deliver(handle)) == 1
    drain(queue)
    assert result() == {"sent": 2, "skipped": 0, "refused": 0, "unknown": 0}
    assert outbox.addresses() == ["ada@example.net", "bo@example.net", "bo@example.net"]  # the first was refused


def test_a_duplicate_part_at_the_same_time_sends_nobody_two(queue: Queue, outbox: Outbox) -> None:
    author()
    for name in ("ada", "bo", "cy"):
        member(name)
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)
    (part,) = queue.receive()["Records"]

    def meanwhile(request: Any) -> None:
        outbox.answer = lambda request: None
        answer = handle.lambda_handler({"Records": [part]}, Context())
        assert len(answer["batchItemFailures"]) == 1  # one mail is in hand: it comes back

    outbox.answer = meanwhile
    assert handle.lambda_handler({"Records": [part]}, Context()) == {"batchItemFailures": []}
    assert sorted(outbox.addresses()) == ["ada@example.net", "bo@example.net", "cy@example.net"]
    assert result() == {"sent": 3, "skipped": 0, "refused": 0, "unknown": 0}


def test_a_part_short_of_time_goes_on_where_it_stopped(queue: Queue, outbox: Outbox, clock: Clock) -> None:
    for number in range(4):
        member(f"user-{number}")
    author()
    post("post-1")
    queue.send(PLAN)
    queue.deliver(handle)

    class Short(Context):
        """Time for two mails, and for a third only if nobody looked at the clock."""

        def get_remaining_time_in_millis(self) -> int:
            return round((sending.SECONDS_FOR_ONE + 5.4 - (clock.now - started)) * 1_000)

    for mails in (2, 4):
        started = clock.now
        assert queue.deliver(handle, Short()) == []
        assert len(outbox.mails) == mails
    assert len(set(outbox.addresses())) == len(outbox.mails) == 4
    assert result() == {"sent": 4, "skipped": 0, "refused": 0, "unknown": 0}


# ---- The pace --------------------------------------------------------------------------------------------------------


def plan(users: int, monkeypatch: pytest.MonkeyPatch, senders: int = 2) -> list[dict[str, Any]]:
    monkeypatch.setattr(module, "_active_users", lambda now: (f"user-{number:07}" for number in range(users)))
    monkeypatch.setattr(digest, "choose", lambda now: ["post-1"])
    monkeypatch.setenv("DIGEST_SENDERS", str(senders))
    return module._plan(type("Run", (), {"now": NOW})())  # type: ignore[arg-type]


def pace(users: int, monkeypatch: pytest.MonkeyPatch, senders: int = 2) -> tuple[float, int]:
    """How many mails a second one part may send to so many users, and to how many of them."""
    monkeypatch.setenv("DIGEST_SENDERS", str(senders))
    return module._pace_of_a_part(NOW, users)


@pytest.mark.parametrize(("rate", "senders"), [(14, 2), (14, 8), (14, 80), (1, 2), (500, 80)])
def test_all_parts_together_keep_to_80_percent(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, rate: float, senders: int
) -> None:
    outbox.quota = {"MaxSendRate": rate, "Max24HourSend": -1, "SentLast24Hours": 0}
    parts = plan(2_000, monkeypatch, senders)
    assert sum(len(part["users"]) for part in parts) == 2_000
    assert max(len(part["users"]) for part in parts) <= 500
    for part in parts:
        assert part["per_second"] * senders == pytest.approx(0.8 * rate)
        seconds = len(part["users"]) / part["per_second"]
        assert seconds <= 10 * (300 - 30), "it may send itself on ten times"


def test_a_part_keeps_its_pace(queue: Queue, outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        member(f"user-{number}", digest=number != 2)
    author()
    post("post-1")
    went: list[float] = []
    outbox.answer = lambda request: went.append(clock.now)
    queue.send(PLAN)
    drain(queue)
    interval = 1 / (0.8 * 14 / 2)
    assert [round(at - 1_000, 3) for at in went] == [
        round(interval * n, 3) for n in (1, 2, 3)
    ]  # who is skipped costs none


def test_where_the_days_quota_is_short_the_pace_is_the_quotas(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.quota = {"MaxSendRate": 14, "Max24HourSend": 50_000, "SentLast24Hours": 10_000}
    assert pace(32_000, monkeypatch)[0] == pytest.approx(0.8 * 14 / 2)
    assert pace(32_001, monkeypatch)[0] == pytest.approx(0.8 * 50_000 / 86_400 / 2)


@pytest.mark.parametrize(
    ("users", "quota", "senders"),
    [
        (300_000, {"MaxSendRate": 14, "Max24HourSend": 50_000, "SentLast24Hours": 0}, 2),  # the week ends
        (200, {"MaxSendRate": 1, "Max24HourSend": 200, "SentLast24Hours": 0}, 2),  # a mail in eighteen minutes
    ],
)
def test_planning_refuses_what_could_not_be_finished(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, users: int, quota: dict[str, float], senders: int
) -> None:
    outbox.quota = quota
    with pytest.raises(module.Rejected, match=f"^{users} users at .* They must be done by 2026-11-09 00:00 UTC"):
        pace(users, monkeypatch, senders)


def test_the_longest_week_that_is_not_refused(queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.quota = {"MaxSendRate": 1, "Max24HourSend": -1, "SentLast24Hours": 0}
    left = datetime(2026, 11, 9, tzinfo=UTC) - NOW
    most = math.floor(left.total_seconds() * 0.8)
    assert pace(most, monkeypatch) == (0.4, 5 * 240 * 0.4 // 1)
    with pytest.raises(module.Rejected):
        pace(most + 1, monkeypatch)


def test_a_hundred_million_users_are_divided_without_any_step_that_grows(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 200 mails a second they are done within the week; each node of the tree has at most 1,000 below it."""
    monkeypatch.setenv("DIGEST_SENDERS", "80")
    outbox.quota = {"MaxSendRate": 250, "Max24HourSend": -1, "SentLast24Hours": 0}
    lists = [[f"list-{shard}", 25_000] for shard in range(8)]
    run = type("Run", (), {"now": NOW})()
    divided = module._work(run, module.WHOLE, "send", {"best": [[0, 0, 0, "p"]], "users": 10**8, "lists": lists})
    assert isinstance(divided, sweeps.Split)
    assert len(divided.parts) == 200
    below = [module._work(run, part, None, {}) for part in divided.parts]
    assert {len(split.parts) for split in below if isinstance(split, sweeps.Split)} == {1_000}
    assert sum(row_of(part) for split in below if isinstance(split, sweeps.Split) for part in split.parts) == 10**8
    assert len(json.dumps(divided.parts)) < 100_000


def row_of(part: Any) -> int:
    return int(part["to"] - part["from"])


def test_the_events_of_lambda_are_understood(queue: Queue, outbox: Outbox) -> None:
    member("user-1")
    author()
    post("post-1")
    for name in ("typical", "duplicate", "part", "one_user", "poison"):
        assert handle.lambda_handler(event("send_content_digest_email", name), Context()) == {
            "batchItemFailures": []
        }, name
    assert outbox.addresses() == ["user-1@example.net"]
    assert [letter["reason"] for letter in queue.dead()] == ["invalid_arguments"]
