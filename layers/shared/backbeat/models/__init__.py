"""The tables, as PynamoDB models: what the application writes and the tasks read.

What an application calls are the methods: `User.follow`, `Post.publish`, `Post.like`, ... Each writes a row, the
counts that depend on it, the day keys and `touched_day` in one transaction, so that none is ever true without the
others, and each may be repeated: the second time it changes nothing. `at` is when the application writes; no method
reads the clock. What no row can hold, such as an id that is a number or a time without a zone, is refused before
anything is written (`InvalidArgument`).

An application may also write rows itself. `User.new`, `Post.new`, `Comment.new` and `Token.new` make rows with their
day keys set; what counts them is then the application's, or `update_user_statistics`'s.

Table names come from the environment (`POSTS_TABLE`, ...), as the template hands them to each function, or from
`bind`; region, credentials and endpoint are boto3's own.
"""

from backbeat.models.arguments import InvalidArgument
from backbeat.models.base import (
    PAGE,
    Check,
    Delete,
    Row,
    Save,
    Unreadable,
    Update,
    delete_all,
    delete_if,
    each,
    readable,
    save_if,
    update_if,
    write_together,
)
from backbeat.models.changes import CHANGES_KEPT, Changed
from backbeat.models.keys import day_key, day_keys, shard_of, shards, slice_key, slice_keys
from backbeat.models.mail import Delivery, DigestSelection
from backbeat.models.notifications import NOTIFICATION_KEPT, Notification
from backbeat.models.posts import Comment, Like, Post, delete_post
from backbeat.models.reports import DayCounts, Report, report_files, reports_bucket
from backbeat.models.runs import (
    IN_FLIGHT,
    TRIALS,
    DayTotals,
    Flight,
    RunRecord,
    SweepPart,
    SweepRun,
    Trial,
    Watermark,
)
from backbeat.models.tables import TABLES, bind
from backbeat.models.tokens import Token, TokenReused
from backbeat.models.trends import Hashtag, HashtagTally, HourMark, TrendingHashtags
from backbeat.models.users import ACTIVITY_KEPT, Activity, ErasedUser, Follow, User

__all__ = [
    "ACTIVITY_KEPT",
    "CHANGES_KEPT",
    "IN_FLIGHT",
    "NOTIFICATION_KEPT",
    "PAGE",
    "TABLES",
    "TRIALS",
    "Activity",
    "Changed",
    "Check",
    "Comment",
    "DayCounts",
    "DayTotals",
    "Delete",
    "Delivery",
    "DigestSelection",
    "ErasedUser",
    "Flight",
    "Follow",
    "Hashtag",
    "HashtagTally",
    "HourMark",
    "InvalidArgument",
    "Like",
    "Notification",
    "Post",
    "Report",
    "Row",
    "RunRecord",
    "Save",
    "SweepPart",
    "SweepRun",
    "Token",
    "TokenReused",
    "TrendingHashtags",
    "Trial",
    "Unreadable",
    "Update",
    "User",
    "Watermark",
    "bind",
    "day_key",
    "day_keys",
    "delete_all",
    "delete_if",
    "delete_post",
    "each",
    "readable",
    "report_files",
    "reports_bucket",
    "save_if",
    "shard_of",
    "shards",
    "slice_key",
    "slice_keys",
    "update_if",
    "write_together",
]
