"""A network on paper: how many members do how much, and what that gives each task to do.

The figures of behaviour are assumptions, which every command takes as options. Those of the work are measured or
sourced, as each says; they were last looked at on 2026-11-25.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backbeat_ops import checkout

DAYS_A_MONTH = 30.4
KEYS_A_UNIT = 68
"""Keys of 60 bytes in 4 kB, which an eventually consistent read of half a unit gives."""


@dataclass(frozen=True, slots=True)
class Network:
    """What members do.

    Attributes:
        users: Members.
        daily: The share of them who are there on a day.
        weekly: The share of them who logged in within seven days.
        monthly: The share of them who were there within thirty days.
        joining: New members a day, as a share of all.
        posts: Posts a day of one who is there.
        likes: Likes a day of one who is there.
        follows: Follows a day of one who is there.
        comments: Comments a day of one who is there.
        notifications: Notifications a day to one who is there.
        sessions: Tokens that expire a day of one who is there.
        tagged: The share of posts with hashtags, two each.
        pictures: The share of posts with an upload.
        unwanted: The share of posts that nobody cared for in a year.
    """

    users: int
    daily: float = 0.3
    weekly: float = 0.5
    monthly: float = 0.6
    joining: float = 0.001
    posts: float = 0.3
    likes: float = 5
    follows: float = 0.2
    comments: float = 0.5
    notifications: float = 6
    sessions: float = 1.2
    tagged: float = 0.3
    pictures: float = 0.4
    unwanted: float = 0.2

    @property
    def there(self) -> float:
        """Members who are there on a day."""
        return self.users * self.daily

    @property
    def posts_a_day(self) -> float:
        """Posts a day."""
        return self.there * self.posts

    @property
    def uploads_a_day(self) -> float:
        """Uploads a day."""
        return self.posts_a_day * self.pictures

    @property
    def mails_a_week(self) -> float:
        """Digests a week."""
        return self.users * self.weekly

    @property
    def touched_a_day(self) -> float:
        """Members whose counts change on a day: who posts or follows, and who is followed."""
        return min(self.users, self.there * min(1, self.posts + 2 * self.follows))

    @property
    def liked_a_day(self) -> float:
        """Posts older than ten days whose counts change on a day: a tenth of the likes."""
        return self.there * self.likes / 10

    @property
    def people_and_tags(self) -> float:
        """Entries in the tallies of a week: two a post with hashtags."""
        return self.posts_a_day * 7 * self.tagged * 2


@dataclass(frozen=True, slots=True)
class Work:
    """What one row, or one message, costs a task.

    Attributes:
        seconds: Of an invocation.
        reads: DynamoDB's read request units.
        writes: DynamoDB's write request units.
        source: Where the figures are from.
    """

    seconds: float
    reads: float
    writes: float
    source: str


A_CALL = 0.005
"""Seconds that a function waits for a call to DynamoDB: "single-digit milliseconds" (DynamoDB developer guide)."""

A_MAIL = (
    "3.3 calls (docs/decisions.md), SES 60 ms; the claim and its check take two units each, as a transaction prepares "
    "and commits each item (DynamoDB developer guide), and its index one; settling one, and two to move in the index"
)

WORK: Mapping[str, Work] = {
    "update_user_statistics": Work(4 * A_CALL, 2.03, 0.3, "docs/sweeps.md: 280 units for 138 users; four calls a user"),
    "update_post_engagement_scores": Work(2 * A_CALL, 0.55, 2, "docs/sweeps.md: a unit a write, and one that lists it"),
    "cleanup_expired_tokens": Work(2 * A_CALL, 0.55, 3, "docs/sweeps.md: two units a delete, and one that lists it"),
    "cleanup_old_posts": Work(0.001, 0.55, 0, "docs/sweeps.md: 54 units for 60 posts, most of them for empty days"),
    "take a post": Work(10 * A_CALL, 2.5, 5.4, "docs/sweeps.md: 100 and 216 units for 40 posts"),
    "count a row of a report": Work(0.0002, 0.5, 0, "BatchGetItem: 100 rows in 10 ms, and 0.1 ms CPU a row"),
    "count a key of a report": Work(0.00003, 0.5 / KEYS_A_UNIT, 0, "30,000 keys a second, read and decoded"),
    "count a key again": Work(2e-6, 0.5 / KEYS_A_UNIT, 0, "10,000 keys a call, in 20 ms"),
    "rank a person and tag": Work(
        4e-6, 22 / 4096, 0.024, "measured: 1.1 us CPU, 22 bytes packed; rows of tags that an hour changes, twice"
    ),
    "unite a person": Work(4e-6, 11 / 4096, 0, "as the above; half of a small row's says so already"),
    "count a post with tags": Work(0.0001, 150 / 8192, 0, "0.05 ms CPU here, and 150 bytes in the index"),
    "choose a post": Work(0.0009, 0.51, 0, "0.23 ms CPU here, 0.8 ms at 512 MB, and 10 ms for 100 rows"),
    "list a user": Work(0.00005, 0.5 / KEYS_A_UNIT, 0.04, "a query and a write of 20 kB for 500"),
    "send_content_digest_email": Work(0.1, 3, 8, A_MAIL),
    "send_welcome_email": Work(0.1, 1.5, 8, A_MAIL),
    "record_email_feedback": Work(3 * A_CALL, 0.5, 2, "three calls"),
    "send_notification": Work(2 * A_CALL, 0.5, 1, "two calls"),
    "process_media_upload": Work(2.2, 3, 3, "docs/media.md: a 12 MP photo in WebP and JPEG, at 1.7 of a core"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What a network gives a task to do.

    Attributes:
        task: The task.
        runs: Runs, or messages, a month.
        rows: Rows that one run works on, by what is done with them (the keys of `WORK`).
        batch: Messages in one invocation.
        partitions: Into how many partitions the rows are spread; the least number of parts.
    """

    task: str
    runs: float
    rows: Mapping[str, float] = field(default_factory=dict)
    batch: int = 1
    partitions: int = 0


def loads(network: Network) -> list[Load]:
    """What each task has to do, in the order of their classes."""
    batch = {row["Name"]: int(row["Batch"]) for row in checkout.template()["Mappings"]["Tasks"].values()}
    day, week, hour = DAYS_A_MONTH, DAYS_A_MONTH / 7, DAYS_A_MONTH * 24
    posts, there = network.posts_a_day, network.there
    mails = network.mails_a_week
    joining, notified = network.users * network.joining * day, there * network.notifications * day
    return [
        Load("process_media_upload", network.uploads_a_day * day, {"process_media_upload": 1}),
        Load("send_welcome_email", joining, {"send_welcome_email": 1}, batch["send_welcome_email"]),
        Load(
            "send_content_digest_email",
            week,
            {"choose a post": posts * 7, "list a user": mails, "send_content_digest_email": mails},
            partitions=8 * 8 + 8,
        ),
        Load(
            "record_email_feedback",
            1.02 * (mails * week + joining),
            {"record_email_feedback": 1},
            batch["record_email_feedback"],
        ),
        Load(
            "update_user_statistics",
            day,
            {"update_user_statistics": network.touched_a_day + network.users / 28},
            partitions=16 + 8,
        ),
        Load(
            "update_trending_hashtags",
            hour,
            {
                "rank a person and tag": network.people_and_tags,
                "unite a person": network.people_and_tags / 2,  # who used any, once a post
                "count a post with tags": posts * network.tagged * 7 * 11 / 168,  # 11 of the week's hours
            },
        ),
        Load(
            "generate_content_analytics",
            day,
            {
                "count a row of a report": 4 * posts,
                "count a key of a report": 4 * there * network.comments + 33 * there,
                "count a key again": (posts + there * network.comments) * 365 / 28,  # of a year, one day in 28
            },
            partitions=8,
        ),
        Load(
            "update_post_engagement_scores",
            day,
            {"update_post_engagement_scores": 10 * posts + network.liked_a_day},
            partitions=32 + 16,
        ),
        Load(
            "cleanup_expired_tokens", day, {"cleanup_expired_tokens": there * network.sessions}, partitions=16 + 16 + 16
        ),
        Load(
            "cleanup_old_posts",
            week,
            {"cleanup_old_posts": 7 * posts * (1 + network.unwanted), "take a post": 2 * 7 * posts * network.unwanted},
            partitions=32 + 32,
        ),
        Load("send_notification", notified, {"send_notification": 1}, batch["send_notification"]),
    ]
