"""Every task, declared once: its name, class, typed arguments and retry policy.

This is all that a producer imports: `process_media_upload.delay(bucket=..., key=...)` checks the arguments and puts
one message on the task's queue. It needs none of the code that does the work; that is `functions/<task>/<task>.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from backbeat.producer import DECLARED, KEPT, Retry, Task, task

TASKS: Mapping[str, Task[Any]] = DECLARED
"""Every declared task by name."""


def _fits_a_key(value: str) -> None:
    if not 0 < len(value.encode()) <= LONGEST_KEY:
        raise ValueError(f"it must have 1 to {LONGEST_KEY:,} bytes in UTF-8")


LONGEST_KEY = 1_024
"""Bytes of a sort key in DynamoDB, and of an object's key in S3."""
Key = Annotated[str, _fits_a_key, KEPT]
"""What names a row or an object; the ledger keeps it with the run."""
Only = Annotated[list[Key], Meta(min_length=1, max_length=100)]
"""The ids that a sweep is bound to: it looks at these rows, and no others, and then moves no watermark and publishes
nothing, so that every other run does what it would have done."""


@task("media", about="key")
def process_media_upload(
    bucket: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,255}\Z"), KEPT],
    key: Key,
    version_id: Key | None = None,
    sequencer: Annotated[str, KEPT] | None = None,
    event_name: Annotated[str, KEPT] = "ObjectCreated:Put",
) -> None:
    """Turn an upload into the renditions the application serves, or remove those of a deleted one.

    Args:
        bucket: The bucket that holds the upload.
        key: The upload's key, `posts/<post_id>/<filename>`.
        version_id: The version that was uploaded; the newest where it is not given.
        sequencer: S3's order of the events of one key.
        event_name: What S3 says has happened: `ObjectCreated:...` or `ObjectRemoved:...`.
    """


MAIL_RETRY = Retry(attempts=8, first_wait=30)
"""Some twenty minutes, on average: a mail may wait until SES takes mail again."""


@task("emails", MAIL_RETRY, side_by_side=5)
def send_welcome_email(user_id: Key) -> None:
    """Welcome a new member by email, once.

    Args:
        user_id: The member.
    """


@task("emails", MAIL_RETRY)
def send_content_digest_email(user_id: Key | None = None) -> None:
    """Send the week's digest to every active user, or to one; each gets one a week.

    Args:
        user_id: The one user who gets it; all where it is not given.
    """


@task(side_by_side=10)
def send_notification(
    user_id: Key,
    kind: Annotated[str, Meta(max_length=100)],
    text: str,
    link: Annotated[str, Meta(max_length=2_000)] | None = None,
) -> None:
    """Tell a user something inside the application.

    Args:
        user_id: The user.
        kind: What it is about, such as `like` or `follow`, in up to 100 characters.
        text: What it says, 1 to 1,000 characters.
        link: Where it leads, within the application, in up to 2,000 characters.
    """


@task("users")
def record_email_feedback(detail_type: str, detail: dict[str, Any]) -> None:
    """Settle an email's delivery by what SES tells of it, and mark addresses that bounced or complained.

    Args:
        detail_type: The kind of event, as EventBridge calls it, `Email Bounced` and the like.
        detail: SES's event.
    """


@task("analytics")
def update_trending_hashtags(
    top: Annotated[int, Meta(ge=1, le=100)] = 10, full: bool = False, only: Only | None = None
) -> None:
    """Rank the hashtags of the last seven days by how far they rise above their own past, and mark the first ones.

    Args:
        top: How many are marked as trending.
        full: Whether every hour of the week, and of the four weeks before, is counted from its posts again, not only
            what may have changed.
        only: Rank these posts' hashtags by themselves, and write nothing.
    """


@task("analytics")
def generate_content_analytics(full: bool = False, only: Only | None = None) -> None:
    """Report yesterday in figures, and the three days before it again.

    Args:
        full: Whether the rows of every day are counted again for the totals, not only what may have changed.
        only: Report these posts, as if they were all of yesterday, and write nothing.
    """


@task("analytics")
def update_user_statistics(full: bool = False, only: Only | None = None) -> None:
    """Make the users' counts of followers, followed and posts true.

    Args:
        full: Recount every user, not only those who were touched and tonight's slice.
        only: Recount these users.
    """


@task("analytics")
def update_post_engagement_scores(full: bool = False, only: Only | None = None) -> None:
    """Score the posts that are young or were touched.

    Args:
        full: Score every post, however old.
        only: Score these posts.
    """


@task("maintenance")
def cleanup_expired_tokens(
    idle_days: Annotated[int, Meta(ge=1, le=36_500)] = 30, full: bool = False, only: Only | None = None
) -> None:
    """Delete the tokens that are worthless: expired, of a session unseen, or of a user who stays away.

    Args:
        idle_days: After how many days a session is unseen, and a user away, for good.
        full: Begin with the oldest, as the first run does, not with what became due since the last one.
        only: Look at all tokens of these users.
    """


@task("maintenance")
def cleanup_old_posts(
    mode: Literal["clean", "report"] = "clean",
    survey: Key | None = None,
    full: bool = False,
    only: Only | None = None,
) -> None:
    """Hide old posts that nobody cared for, and 30 days later archive and delete them.

    Args:
        mode: `report` only says what a run would take.
        survey: Take what the run of this id has found, and nothing else, however much of the table it is.
        full: Begin with the oldest post, as the first run does, not with what came of age since the last one.
        only: Look at these posts, however much of the table they are.
    """
