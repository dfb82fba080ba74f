"""Which models live in which table, and under what names."""

import os
from collections.abc import Mapping

from pynamodb.models import Model

from backbeat.models.base import connection
from backbeat.models.changes import Changed
from backbeat.models.mail import Delivery, DigestSelection
from backbeat.models.notifications import Notification
from backbeat.models.posts import Comment, Like, Post
from backbeat.models.reports import DayCounts, Report
from backbeat.models.runs import DayTotals, Flight, RunRecord, SweepPart, SweepRun, Trial, Watermark
from backbeat.models.tokens import Token
from backbeat.models.trends import Hashtag, HashtagTally, HourMark, TrendingHashtags
from backbeat.models.users import Activity, ErasedUser, Follow, User

TABLES: dict[str, tuple[type[Model], ...]] = {
    "USERS_TABLE": (User,),
    "FOLLOWS_TABLE": (Follow,),
    "ACTIVITY_TABLE": (Activity,),
    "POSTS_TABLE": (Post,),
    "LIKES_TABLE": (Like,),
    "COMMENTS_TABLE": (Comment,),
    "TOKENS_TABLE": (Token,),
    "TALLIES_TABLE": (HashtagTally, HourMark),
    "TRENDING_TABLE": (Hashtag, TrendingHashtags),
    "REPORTS_TABLE": (Report, DayCounts),
    "DELIVERIES_TABLE": (Delivery,),
    "NOTIFICATIONS_TABLE": (Notification,),
    "RUNS_TABLE": (
        RunRecord,
        Flight,
        Trial,
        DayTotals,
        SweepRun,
        SweepPart,
        Watermark,
        DigestSelection,
        Changed,
        ErasedUser,
    ),
}
"""Each table's environment variable and the models that live in it."""


def bind(tables: Mapping[str, str]) -> None:
    """Point the models at the tables of one stack, for a program that is given their names after its start.

    They are where `AWS_ENDPOINT_URL` says by now, and without it on AWS.

    Args:
        tables: Table names by environment variable, `{"POSTS_TABLE": ...}`.
    """
    host = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
    for variable, models in TABLES.items():
        for model in models:
            if (model.Meta.table_name, model.Meta.host) != (tables[variable], host):
                model.Meta.table_name, model.Meta.host = tables[variable], host
                model._connection = None  # PynamoDB keeps one per model, made on first use, and slow to make
                connection.cache_clear()
