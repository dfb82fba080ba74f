"""A stack that proves itself: every task runs once, end to end, on data of its own, which is gone afterwards.

Each check makes what its task is to work on, sends its message, and looks for the effect. What it makes bears the name
of the *trial* and no day, by which `backbeat.trials` keeps it apart from the network: no sweep finds it, and a sweep
that is proved is bound to it (`only`). The mails go to SES's mailbox simulator.

A trial is noted before anything is made, with a sign of life every few seconds. All that it makes can be told from its
id, so that the next one removes what a trial that was killed has left.
"""

import json
import os
import re
import secrets
import struct
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from backbeat import models, queues, tasks, trials
from backbeat.aws import s3
from backbeat.ledger import FAILED, Outcome
from backbeat.mail import deliveries, digest, unsubscribing
from backbeat.messages import iso
from backbeat.models import (
    IN_FLIGHT,
    TRIALS,
    Delivery,
    DigestSelection,
    Flight,
    Follow,
    Notification,
    Post,
    RunRecord,
    SweepRun,
    Token,
    User,
    delete_all,
)
from backbeat.posts import archive
from backbeat.posts.files import delete_files, files_of, upload_key
from backbeat.producer import Task
from backbeat_ops import localcloud
from backbeat_ops.deployed import Deployed
from backbeat_ops.stack import NotFound, Stack, empty

QUICK, WHOLE = 45.0, 300.0
"""Seconds that the tasks have, all of them together: after a deployment, and where SES is to tell of bounces."""
LEASE = timedelta(seconds=20)
"""How long a trial is taken to go on after its last sign of life."""
SECONDS_BETWEEN_SIGNS = 4
SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_FOR_A_PAGE = 10
"""How long an answer is waited for; a function that is just starting is asked again."""
SIDE = 64
"""Pixels of a side of the picture."""
FIRST_WEEK = datetime(1971, 1, 4, 12, tzinfo=UTC)
"""A digest is sent as if in a week soon after this one, in which nobody has posted and nobody gets another."""
WEEKS = 1_000
FOUND_BROKEN = (ClientError, BotoCoreError, PynamoDBException, LookupError, OSError)
"""What a check meets where the stack is not whole."""

Progress = Iterator[str]
"""A check at work: each text says what is not there yet. It ends when all is."""


class Failed(Exception):
    """What a check looks for will not come; the text says why."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of one check.

    Attributes:
        task: The task, or what else was proved.
        checked: What was to be seen, a sentence.
        passed: Whether it was.
        why: Why not.
        next: What to do about it.
        seconds: How long it took, from making its data on.
    """

    task: str
    checked: str
    passed: bool
    why: str | None
    next: str | None
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One trial: its name, from which all that it makes is named.

    Attributes:
        stack: The stack.
        id: Its id.
        now: When it began.
        by_ses: Whether SES itself is to tell of bounces, which takes a while, and which the local cloud does not do.
        fetch: Asks for a page, by its address and the method; returns the status, or None where none came in time.
    """

    stack: Stack
    id: str
    now: datetime
    by_ses: bool
    fetch: Callable[[str, str], int | None]

    @property
    def week(self) -> datetime:
        """A time of its own week, long ago."""
        return FIRST_WEEK + timedelta(weeks=int(self.id[-8:], 16) % WEEKS)

    def named(self, name: str) -> str:
        """The id of one of its users or posts."""
        return f"{self.id}-{name}"

    def user(self, name: str, mailbox: str = "success", **more: Any) -> User:
        """Make one of its users; see `USERS`."""
        assert name in USERS
        address = trials.address(self.id, mailbox)
        user = User(self.named(name), name="Backbeat verify", email=address, created_at=self.now, **more)
        user.save()
        return user

    def post(self, name: str, author: str = "author", **more: Any) -> Post:
        """Make one of its posts; see `POSTS`."""
        assert name in POSTS
        made = {"text": "backbeat verify", "visibility": "hidden", "created_at": self.now, **more}
        post = Post(self.named(name), author_id=self.named(author), **made)
        post.save()
        return post

    def send(self, task: Task[Any], at: datetime | None = None, **kwargs: Any) -> None:
        """Send a task its one message."""
        message = replace(task.message(kwargs, at or self.now), id=self.named(task.name))
        queues.put(task.queue_name(self.stack.name), message.to_json())

    def runs(self, task: str) -> list[RunRecord]:
        """What the ledger has of a task's runs in this trial."""
        return [
            run for day in self._days() for run in RunRecord.query(f"{task}#{day}", self._own, consistent_read=True)
        ]

    def result(self, task: Task[Any]) -> Any:
        """What a task's run has come to, once it has succeeded."""
        found = (run.result for run in self.runs(task.name) if run.outcome == Outcome.SUCCEEDED)
        return next(found, None)

    def begin(self) -> None:
        """Note it, before it makes anything."""
        models.Trial(TRIALS, self.id, started=self.now, until=datetime.now(UTC) + LEASE).save()

    def live(self) -> None:
        """Give a sign of life."""
        models.Trial(TRIALS, self.id).update(actions=[models.Trial.until.set(datetime.now(UTC) + LEASE)])

    def remove(self) -> None:
        """End it, and remove all that it made; it may be repeated."""
        note = models.Trial(TRIALS, self.id)
        note.update(actions=[models.Trial.ended.set(True)])  # from here on its messages ask for nothing
        for user_id in map(self.named, USERS):
            for model in (Token, Notification, Follow):
                delete_all(model, model.query(user_id))
            mails = (f"welcome:{user_id}", digest.delivery_id(user_id, self.week))
            delete_all(Delivery, [Delivery(delivery_id) for delivery_id in mails])
            User(user_id).delete()
        for post_id in map(self.named, POSTS):
            Post(post_id).delete()
            delete_files(files_of(post_id))
        DigestSelection(f"digest#{digest.week_of(self.week)}", "posts").delete()
        run_id = self.named(tasks.cleanup_old_posts.name)
        for kind in ("surveys", "archive"):
            empty(self.stack.buckets["archive"], archive.folder(kind, run_id))
        for task in tasks.TASKS:
            for run_id in (self.named(task), f"{self.named(task)}/take"):
                delete_all(SweepRun, SweepRun.query(f"{task}#sweep#{run_id}", attributes_to_get=["task_day", "run_id"]))
            for day in self._days():
                for shelf in (f"{task}#{day}", f"{task}#{day}#parts"):
                    delete_all(RunRecord, RunRecord.query(shelf, self._own))
            delete_all(Flight, Flight.query(IN_FLIGHT, Flight.key.startswith(f"{task}#{self.id}")))
        note.delete()

    @property
    def _own(self) -> Any:
        return RunRecord.run_id.startswith(self.id)

    def _days(self) -> set[str]:
        """The logical days of its runs, by which the ledger has them."""
        return {f"{self.now.date()}", f"{datetime.now(UTC).date()}", f"{self.week.date()}"}


# ---- The checks ------------------------------------------------------------------------------------------------------


def _media(trial: Trial) -> Progress:
    """The upload is deleted again by the check, as that is told to the task as well, and takes the renditions."""
    post_id, content = trial.post("picture").post_id, _picture()
    s3().put_object(Bucket=os.environ["UPLOADS_BUCKET"], Key=upload_key(post_id, "picture.png"), Body=content)
    while (post := Post.get(post_id, consistent_read=True)).media_status != "ready":
        if post.media_status == "failed":
            raise Failed(f"the picture was refused: {post.media_reason}")
        yield "the post has no renditions"
    (media,) = post.media.as_dict().values()  # type: ignore[no-untyped-call]
    for rendition in media["renditions"]:
        s3().head_object(Bucket=os.environ["MEDIA_BUCKET"], Key=rendition["key"])
    delete_files([file for file in files_of(post_id) if file["bucket"] == os.environ["UPLOADS_BUCKET"]])
    while files_of(post_id):
        yield "the renditions of the deleted upload are still there"
    while len(trial.runs("process_media_upload")) < 2:
        yield "the ledger does not have the removal"


def _welcome(trial: Trial) -> Progress:
    user = trial.user("welcome")
    trial.send(tasks.send_welcome_email, user_id=user.user_id)
    yield from _until_sent(f"welcome:{user.user_id}")


def _digest(trial: Trial) -> Progress:
    trial.user("author")
    user = trial.user("digest", last_login_at=trial.week)
    post = trial.post("digest", visibility="public", created_at=trial.week - timedelta(hours=1))
    week = f"digest#{digest.week_of(trial.week)}"
    DigestSelection(week, post_ids=[post.post_id], as_of=trial.week, expires=trial.now + timedelta(days=1)).save()
    trial.send(tasks.send_content_digest_email, at=trial.week, user_id=user.user_id)
    yield from _until_sent(digest.delivery_id(user.user_id, trial.week))


def _until_sent(delivery_id: str) -> Progress:
    while True:
        try:
            state = Delivery.get(delivery_id, consistent_read=True).state
        except Delivery.DoesNotExist:
            state = "not there"
        if state == deliveries.State.SENT:
            return
        yield f"SES has taken no mail: the delivery is {state}"


def _feedback(trial: Trial) -> Progress:
    expected = {"bounce": "bounced"} | ({"complaint": "complained"} if trial.by_ses else {})
    for mailbox in expected:
        user = trial.user(mailbox, mailbox)
        delivery = Delivery(f"welcome:{user.user_id}", email="welcome", user_id=user.user_id, run_id=trial.id)
        delivery.state, delivery.message_id, delivery.attempt = deliveries.State.SENT, "none", 1
        delivery.claimed_at = delivery.logical_time = trial.now
        delivery.shelf = trial.id  # no day's, so that it is counted nowhere
        delivery.save()
        tag = deliveries.tag(delivery.delivery_id)
        if trial.by_ses:
            _send_mail(trial, user.email, tag)
        else:
            queue = tasks.record_email_feedback.queue_name(trial.stack.name)
            queues.put(queue, json.dumps(_bounce(trial, user.email, tag)))
    for mailbox, status in expected.items():
        while (found := User.get(trial.named(mailbox), consistent_read=True).email_status) != status:
            yield f"the address at {mailbox}@ is marked as {found}, not as {status}"


def _send_mail(trial: Trial, address: str, tag: str) -> None:
    boto3.client("sesv2").send_email(
        FromEmailAddress=Deployed(trial.stack).parameters["Sender"],
        Destination={"ToAddresses": [address]},
        Content={"Simple": {"Subject": {"Data": trial.id}, "Body": {"Text": {"Data": "backbeat verify"}}}},
        ConfigurationSetName=f"{trial.stack.name}-mail",
        EmailTags=[{"Name": "delivery", "Value": tag}],
    )


def _bounce(trial: Trial, address: str, tag: str) -> dict[str, Any]:
    """What EventBridge would bring of a bounce (SES, "Examples of event data")."""
    return {
        "id": "bounce",
        "detail-type": "Email Bounced",
        "source": "aws.ses",
        "time": iso(trial.now),
        "detail": {
            "eventType": "Bounce",
            "mail": {"messageId": "none", "destination": [address], "tags": {"delivery": [tag]}},
            "bounce": {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": address}]},
        },
    }


def _notification(trial: Trial) -> Progress:
    user = trial.user("notification")
    trial.send(tasks.send_notification, user_id=user.user_id, kind="verify", text=trial.id)
    while [row.text for row in Notification.query(user.user_id, consistent_read=True)] != [trial.id]:
        yield "the user has no notification"


def _statistics(trial: Trial) -> Progress:
    user = trial.user("statistics", following_count=7)
    Follow(user.user_id, trial.named("author"), created_at=trial.now).save()
    trial.send(tasks.update_user_statistics, only=[user.user_id])
    while (count := User.get(user.user_id, consistent_read=True).following_count) != 1:
        yield f"a user who follows one has following_count={count}"


def _scores(trial: Trial) -> Progress:
    post = trial.post("scores", likes_count=2)
    trial.send(tasks.update_post_engagement_scores, only=[post.post_id])
    while not Post.get(post.post_id, consistent_read=True).score:
        yield "a post with likes has no score"


def _tokens(trial: Trial) -> Progress:
    user = trial.user("tokens")
    for token_id, hours in (("expired", -1), ("valid", 1)):
        ends = trial.now + timedelta(hours=hours)
        Token(user.user_id, token_id, kind="access", created_at=trial.now, expires_at=ends).save()
    trial.send(tasks.cleanup_expired_tokens, only=[user.user_id])
    while (left := [token.token_id for token in Token.query(user.user_id, consistent_read=True)]) != ["valid"]:
        if "valid" not in left:
            raise Failed("a token that has not expired is gone")
        yield "an expired token is still there"


def _old_posts(trial: Trial) -> Progress:
    old = trial.now - timedelta(days=400)
    hide = trial.post("hide", visibility="public", created_at=old)
    delete = trial.post("delete", created_at=old, hidden_at=trial.now - timedelta(days=31), hidden_from="public")
    trial.send(tasks.cleanup_old_posts, only=[hide.post_id, delete.post_id])
    while Post.get(hide.post_id, consistent_read=True).visibility != "hidden":
        yield "a post of 400 days ago is not hidden"
    while Post.count(delete.post_id, consistent_read=True):
        yield "a post that was hidden 31 days ago is still there"
    prefix = archive.folder("archive", trial.named(tasks.cleanup_old_posts.name))
    if not s3().list_objects_v2(Bucket=trial.stack.buckets["archive"], Prefix=prefix)["KeyCount"]:
        raise Failed("the deleted post is not in the archive")
    while len(trial.runs(tasks.cleanup_old_posts.name)) < 2:
        yield "the ledger does not have the run that took them"


def _trending(trial: Trial) -> Progress:
    tag = f"Verify{trial.id[-8:]}"
    posts = [trial.post(f"tagged-{author}", author, hashtags={tag}).post_id for author in ("author", "statistics")]
    trial.send(tasks.update_trending_hashtags, only=posts)
    while not (result := trial.result(tasks.update_trending_hashtags)):
        yield "there is no ranking"
    if [line.partition(":")[0] for line in result["trending"]] != [f"#{tag}"]:
        raise Failed(f"of two posts with #{tag} the ranking is {result['trending']}")


def _analytics(trial: Trial) -> Progress:
    posts = [trial.post(name, visibility="public").post_id for name in ("reported-1", "reported-2")]
    trial.send(tasks.generate_content_analytics, only=posts)
    while not (result := trial.result(tasks.generate_content_analytics)):
        yield "there is no report"
    if result["posts"] != len(posts):
        raise Failed(f"the report of {len(posts)} posts counts {result['posts']}")


def _unsubscribe(trial: Trial) -> Progress:
    user = trial.user("unsubscribe")
    os.environ["UNSUBSCRIBE_KEY"] = trial.stack.resources["UnsubscribeKey"]
    link = unsubscribing.link(_unsubscribe_url(trial.stack), user.user_id, trial.now)
    for method, wants in (("GET", True), ("POST", False)):
        while (status := trial.fetch(link, method)) is None:
            yield "the page of the link does not answer"
        if status != 200:
            raise Failed(f"the page of the link answers a {method} with {status}")
        if User.get(user.user_id, consistent_read=True).digest is not wants:
            raise Failed(f"after a {method} the user {'wants no digest any more' if wants else 'still wants one'}")


def _unsubscribe_url(stack: Stack) -> str:
    if address := Deployed(stack).parameters.get("UnsubscribeUrl"):
        return address
    url = str(boto3.client("lambda").get_function_url_config(FunctionName=f"{stack.name}-unsubscribe")["FunctionUrl"])
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and (found := re.match(r"https?://(\w+)\.lambda-url\.", url)):
        return f"{endpoint}/_aws/lambda-url/{found[1]}/"
    return url


def fetch(url: str, method: str) -> int | None:
    """Ask for a page; return the status of the answer, or None where none came in time."""
    request = urllib.request.Request(url, data=b"" if method == "POST" else None, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_FOR_A_PAGE) as answer:  # noqa: S310 - the stack's own
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return None


def _picture() -> bytes:
    """A PNG that there is only once."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + secrets.token_bytes(3 * SIDE) for _ in range(SIDE))
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


USERS = (
    "author",
    "bounce",
    "complaint",
    "digest",
    "notification",
    "statistics",
    "tokens",
    "unsubscribe",
    "welcome",
)
POSTS = (
    "delete",
    "digest",
    "hide",
    "picture",
    "reported-1",
    "reported-2",
    "scores",
    "tagged-author",
    "tagged-statistics",
)
"""All that a trial makes, so that what is left of it can be removed."""
CHECKS: Mapping[str, tuple[str, Callable[[Trial], Progress]]] = {
    "process_media_upload": ("A picture became renditions, which went with it.", _media),
    "send_welcome_email": ("SES took a welcome.", _welcome),
    "send_content_digest_email": ("SES took a digest.", _digest),
    "record_email_feedback": ("An address whose mail came back is marked.", _feedback),
    "update_user_statistics": ("A wrong count is true again.", _statistics),
    "update_trending_hashtags": ("A hashtag of two posts is ranked; nothing is published.", _trending),
    "generate_content_analytics": ("Two posts are in a report; nothing is published.", _analytics),
    "update_post_engagement_scores": ("A post with likes has a score.", _scores),
    "cleanup_expired_tokens": ("An expired token is gone, a valid one is not.", _tokens),
    "cleanup_old_posts": ("An old post is hidden, one hidden long ago is archived and gone.", _old_posts),
    "send_notification": ("A user has a notification.", _notification),
    "unsubscribe": ("The link in a digest ends it, but only once its button is pressed.", _unsubscribe),
}
"""By task, and for the function that is none: what is to be seen, and how."""


# ---- A trial ---------------------------------------------------------------------------------------------------------


def verify(
    stack: Stack,
    chosen: Sequence[str] = (),
    *,
    quick: bool = False,
    told: Callable[[Verified], None] = lambda result: None,
    pause: Callable[[float], None] = time.sleep,
    fetch: Callable[[str, str], int | None] = fetch,
) -> list[Verified]:
    """Run tasks end to end on data of their own, and remove that, whatever happens, and what killed trials have left.

    Args:
        stack: The stack; this process is pointed at it.
        chosen: Which tasks; all where none are named.
        quick: Wait for 45 seconds instead of 300, and do not wait for SES to tell of bounces.
        told: Told what came of each as it comes.
        pause: Waits.
        fetch: Asks for a page.

    Raises:
        NotFound: There is no such task.
    """
    for name in chosen:
        if name not in CHECKS:
            raise NotFound(f"There is no task {name!r} to verify; there are {', '.join(CHECKS)}.")
    for purpose, bucket in stack.buckets.items():
        os.environ[f"{purpose.upper()}_BUCKET"] = bucket
    by_ses = not quick and stack.name != localcloud.STACK
    trial = Trial(stack, trials.new(), datetime.now(UTC), by_ses, fetch)
    trial.begin()
    results: list[Verified] = []

    def tell(result: Verified) -> None:
        results.append(result)
        told(result)

    try:
        _watch(trial, chosen or list(CHECKS), QUICK if quick else WHOLE, tell, pause)
    except BaseException:
        tell(_clean_up(trial.remove))
        raise
    tell(_clean_up(trial.remove, partial(remove_left, trial, pause)))
    return results


def _clean_up(*removals: Callable[[], None]) -> Verified:
    began, why = time.monotonic(), None
    try:
        for remove in removals:
            remove()
    except FOUND_BROKEN as error:
        why = _said(error)
    after = "`backbeat verify` once more removes what is left." if why else None
    return Verified("clean-up", "All that was made is gone.", not why, why, after, time.monotonic() - began)


def remove_left(trial: Trial, pause: Callable[[float], None]) -> None:
    """Remove what trials have left that were killed: those that give no sign of life any more."""
    for note in list(models.Trial.query(TRIALS, consistent_read=True)):
        left = (note.until - datetime.now(UTC)).total_seconds()
        if left > 0:
            pause(left)
            try:
                note.refresh(consistent_read=True)
            except models.Trial.DoesNotExist:
                continue
            if note.until > datetime.now(UTC):
                continue  # it goes on
        Trial(trial.stack, note.trial, note.started, trial.by_ses, trial.fetch).remove()


def _watch(
    trial: Trial,
    chosen: Sequence[str],
    seconds: float,
    tell: Callable[[Verified], None],
    pause: Callable[[float], None],
) -> None:
    """Begin all checks, and look again until each has come to an end, or the time is over."""
    started = signed = time.monotonic()
    at_work: dict[str, tuple[Progress, float]] = {}
    for name in chosen:
        at_work[name] = (CHECKS[name][1](trial), time.monotonic())
    while at_work:
        over = time.monotonic() - started >= seconds
        for name, (progress, began) in list(at_work.items()):
            if ended := _looked(trial, name, progress, over):
                why, further = ended
                del at_work[name]
                took = time.monotonic() - began
                tell(Verified(name, CHECKS[name][0], not why, why, further, took))
        if time.monotonic() - signed > SECONDS_BETWEEN_SIGNS:
            trial.live()
            signed = time.monotonic()
        if at_work:
            pause(SECONDS_BETWEEN_LOOKS)


def _looked(trial: Trial, name: str, progress: Progress, over: bool) -> tuple[str | None, str | None] | None:
    """Look once at a check; if it is at an end, return why it failed and what to do, both None where it has passed."""
    doctor = "`backbeat doctor` compares {} with the template"
    log = f"the log of its function, /aws/lambda/{trial.stack.name}-{name}, has more."
    try:
        missing = next(progress, None)
        if missing is None:
            return None, None  # passed
        runs = trial.runs(name)
    except Failed as error:
        return str(error), f"{doctor.format('its function')}; {log}"
    except FOUND_BROKEN as error:
        return _said(error), f"{doctor.format('the stack')}."
    ended = [run for run in runs if run.outcome in (*FAILED, Outcome.SKIPPED)]
    failing = ended or [run for run in runs if run.outcome == Outcome.RETRYING]
    if not ended and not over:
        return None
    if failing:
        run = max(failing, key=lambda run: run.started)
        return f"its run is {run.outcome}: {run.error}", f"{doctor.format('its function and its role')}; {log}"
    if not runs:
        why = f"{missing}, as no function has taken the message"
        return why, f"{doctor.format('its mapping, its queue and its function')}; {log}"
    if not any(run.outcome == Outcome.SUCCEEDED for run in runs):
        return f"its run is {runs[0].outcome}, and has not come to an end", f"{doctor.format('its function')}; {log}"
    return f"it ran, but {missing}", f"{doctor.format('its function and its variables')}; {log}"


def _said(error: Exception) -> str:
    return (
        f"AWS says: {error}" if isinstance(error, ClientError | BotoCoreError) else f"{type(error).__name__}: {error}"
    )
