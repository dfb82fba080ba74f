"""cleanup_old_posts: posts that nobody cared for in a year are hidden, and 30 days later archived and deleted.

It runs twice. First it *surveys*: it reads what has come of age since the last run, lists what it would take, and
takes nothing. If that is no more than 5% of the posts, it sends itself on to *take* what the survey lists; else the
brake holds it, and an operator has to start that second run. `mode=report` surveys, and leaves it at that.

Whatever is taken is looked at again first. A post that was liked, seen or put under legal hold since stays, and is
shown again. A post is deleted only as it stands in a manifest that was written and read back; see
`backbeat.posts.archive`.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Literal

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from backbeat import queues
from backbeat.aws import dynamodb, s3
from backbeat.messages import LONGEST_ID, Message, digest_of
from backbeat.models import Changed, Comment, DayCounts, Like, Post, day_key, delete_post, readable, update_if
from backbeat.posts import archive
from backbeat.posts.archive import Entry
from backbeat.posts.files import delete_files, files_of
from backbeat.runtime import InParts, Rejected, Run, implementation
from backbeat.sweeps import (
    SECONDS_TO_STOP,
    Json,
    PartDone,
    Tally,
    Unfinished,
    Worked,
    add_up,
    advance,
    as_read,
    bounded,
    held,
    in_parts,
    last_run,
    named,
    note_in,
    partitions,
    spread,
    walk,
)
from backbeat.tasks import cleanup_old_posts

OLD = timedelta(days=365)
GRACE = timedelta(days=30)
FEW_VIEWS = 10
NEEDED = ("author_id", "created_at")
"""What a post's row must have, so that it can be told how old it is, and on whose count it is."""
HOPS = 5
"""How often a part may send itself on: the survey and the taking are one chain of messages (`sweeps.MOST_HOPS`)."""
BRAKE = 0.05
"""The share of all posts above which a run asks before it takes any."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What a survey found.

    Attributes:
        posts: Posts examined.
        to_hide: Posts to hide.
        to_delete: Posts to archive and delete.
        to_show: Hidden posts to show again, as someone cared for them since.
        bytes: How much the posts to hide and to delete take up: their rows, and in mode `report` their files.
        unreadable: Posts whose rows cannot be read; the log names them.
        next: The id of the run that takes them; none in mode `report`, or where there is nothing to take.
    """

    posts: int
    to_hide: int
    to_delete: int
    to_show: int
    bytes: int
    unreadable: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run took.

    Attributes:
        hidden: Posts hidden.
        deleted: Posts archived and deleted.
        shown: Hidden posts shown again.
        changed: Posts left as they are, as they changed since the survey.
        comments: Comments deleted with their posts.
        files: Versions of files deleted with their posts.
        bytes: The size of those files.
        unreadable: Posts whose rows cannot be read by now; the log names them.
        restore: What `backbeat restore` brings the deleted posts back by, and shows the hidden ones again.
    """

    hidden: int
    deleted: int
    shown: int
    changed: int
    comments: int
    files: int
    bytes: int
    unreadable: int
    restore: str


@implementation(cleanup_old_posts)
def handle(
    run: Run,
    mode: Literal["clean", "report"] = "clean",
    survey: str | None = None,
    full: bool = False,
    only: list[str] | None = None,
) -> Surveyed | Taken | InParts | PartDone:
    """Survey what is due, or take what a survey found."""
    if survey is None:
        return in_parts(
            run,
            plan=lambda: bounded(only) if only else plan_survey(run, full),
            work=partial(look, run, mode),
            finish=lambda tallies: decide(run, mode, add_up(tallies), only),
            hops=HOPS,
        )
    return in_parts(
        run,
        plan=lambda: plan_taking(survey),
        work=partial(take, run, survey),
        finish=lambda tallies: sum_up(run, survey, add_up(tallies), only),
        hops=HOPS,
    )


# The survey


def plan_survey(run: Run, full: bool) -> list[Json]:
    """What has come of age since the last run (of a first or a full one, ever), was hidden a while ago, was touched.

    Where it is not known what was touched, in a first run and after a long gap, all that is hidden is looked at.
    """
    since = last_run(run.task.name, run.now)
    of_age, shown_until = (run.now - OLD).date(), (run.now - GRACE if since else run.now).date()
    touched = partitions((since - timedelta(hours=1)).date(), run.now.date()) if since else []
    if since and not full:
        oldest, first_hidden = (since - OLD).date(), (since - GRACE).date()
        made, hidden = partitions(oldest, of_age), partitions(first_hidden, shown_until)
    else:
        oldest = first_hidden = date.min
        made, hidden = held(Post.by_day, "day", of_age), held(Post.by_hiding, "hidden_day", shown_until)
    covered = {"made": [f"{oldest}", f"{of_age}"], "hidden": [f"{first_hidden}", f"{shown_until}"]}
    parts = spread("by_day", made) + spread("by_hiding", hidden) + spread("by_touch", touched)
    return [{**part, **covered} for part in parts]


def look(run: Run, mode: str, spec: Json, cursor: Json | None, tally: Tally) -> Worked:
    """List what a part's posts are due for, page by page."""

    def list_due(page: list[Post], tally: Counter[str]) -> None:
        due: dict[str, Any] = {"hide": [], "delete": [], "show": []}
        for post in readable(Post, [row.post_id for row in page], note_in(tally), needs=NEEDED):
            if spec.get("index") == "by_touch" and is_listed_elsewhere(post, spec):
                continue
            tally["posts"] += 1
            if what := due_for(post, run.now):
                due[what].append(post.post_id)
                tally[what] += 1
                if what != "show":
                    tally["bytes"] += size(post, with_files=mode == "report")
        if any(due.values()):
            due["as_of"] = run.now.isoformat()
            name = hashlib.sha256(page[0].post_id.encode()).hexdigest()[:16]  # the same whenever the page is listed
            key = f"{archive.folder('surveys', run.id)}{spec.get('index', 'only')}-{name}.json"
            s3().put_object(Bucket=archive.bucket(), Key=key, Body=json.dumps(due).encode())

    if "only" in spec:
        return named(Post, spec, list_due)
    index: Any = getattr(Post, spec["index"])
    return walk(run, index, spec, cursor, tally, list_due)


def is_listed_elsewhere(post: Post, spec: Json) -> bool:
    """Whether a post that was touched is found by its own day, or by the day it was hidden, as well."""
    key, (first, last) = (post.hidden_day, spec["hidden"]) if post.hidden_at else (post.day, spec["made"])
    return key is not None and bool(first <= key.partition("#")[0] <= last)


def is_unwanted(post: Post) -> bool:
    """Whether nobody cared for a post, and nothing forbids to delete it."""
    reactions = post.likes_count + post.comments_count + post.shares_count
    return not reactions and post.views_count < FEW_VIEWS and not post.legal_hold


def due_for(post: Post, now: datetime) -> Literal["hide", "delete", "show"] | None:
    """What is to be done with a post by its rows as they are now."""
    if post.hidden_at:
        if not is_unwanted(post):
            return "show"
        return "delete" if post.hidden_at <= now - GRACE else None
    return "hide" if is_unwanted(post) and post.created_at <= now - OLD else None


def size(post: Post, with_files: bool) -> int:
    """About how many bytes a post takes up: its row and, if asked for, its files."""
    row = len(json.dumps(post.to_dynamodb_dict(), default=str))
    return row + (sum(file["size"] for file in files_of(post.post_id)) if with_files else 0)


def decide(run: Run, mode: str, found: Counter[str], only: list[str] | None) -> Surveyed:
    """Send the run on to take what was found, unless that is too much; of a bounded run it never is.

    Raises:
        Rejected: The brake: it is more than 5% of the table.
    """
    total = found["hide"] + found["delete"]
    following = None
    if mode == "clean" and total + found["show"] == 0:
        if not only:
            advance(run.task.name, run.now)
    elif mode == "clean":
        posts = dynamodb().describe_table(TableName=Post.Meta.table_name)["Table"]["ItemCount"]
        if not only and total > BRAKE * posts:
            listed = f"s3://{archive.bucket()}/{archive.folder('surveys', run.id)}"
            raise Rejected(
                "brake",
                f"{total} posts ({found['hide']} to hide, {found['delete']} to delete) are more than {BRAKE:.0%} "
                f"of the {posts} there are, so none was taken. They are listed in {listed}. "
                f"To approve: backbeat run {run.task.name} survey={run.id}",
            )
        following = f"{run.id}/take"
        if len(following) > LONGEST_ID:
            following = f"{digest_of(run.id)}/take"
        kwargs = {"survey": run.id, **({"only": only} if only else {})}
        taking = Message(task=run.task.name, id=following, kwargs=kwargs, sent_at=run.now)
        queues.put(run.task.queue, taking.to_json())
    return Surveyed(
        posts=found["posts"],
        to_hide=found["hide"],
        to_delete=found["delete"],
        to_show=found["show"],
        bytes=found["bytes"],
        unreadable=found["unreadable"],
        next=following,
    )


# The taking


def plan_taking(survey: str) -> list[Json]:
    """The pages of a survey.

    Raises:
        Rejected: There is no such survey, or it found nothing.
    """
    keys = list(archive.manifests(archive.folder("surveys", survey)))
    if not keys:
        raise Rejected("no_survey", f"there is no survey {survey!r}, or it found nothing, or it is over 90 days old")
    return spread("survey", keys)


def take(run: Run, survey: str, spec: Json, cursor: Json | None, tally: Tally) -> Worked:
    """Hide, delete and show what a part's pages list."""
    taken, pages = Counter(tally), spec["keys"]
    for number in range(cursor or 0, len(pages)):
        due = json.loads(s3().get_object(Bucket=archive.bucket(), Key=pages[number])["Body"].read())
        for post in readable(Post, due["hide"] + due["show"], note_in(taken), needs=NEEDED, consistent_read=True):
            taken[hide_or_show(post, run.now)] += 1
        page = pages[number].removeprefix(archive.folder("surveys", survey)).removesuffix(".json")
        delete(survey, page, due["delete"], run.now, taken)
        if run.seconds_left < SECONDS_TO_STOP and number + 1 < len(pages):
            return Unfinished(number + 1, dict(taken))
    return dict(taken)


def hide_or_show(post: Post, now: datetime) -> str:
    """Hide a post that is still due for it, or show it again; return what was done."""
    match due_for(post, now):
        case "hide":
            done = "hidden"
            actions: list[Action] = [
                Post.visibility.set("hidden"),
                Post.hidden_from.set(post.visibility),
                Post.hidden_at.set(now),
                Post.hidden_day.set(day_key(now, post.post_id)),
            ]
        case "show":
            done = "shown"
            actions = post.shown()
        case _:
            return "changed"
    Changed.note("post", post.post_id)
    return done if update_if(post, actions, is_as_read(post)) else "changed"


def delete(survey: str, page: str, post_ids: list[str], now: datetime, taken: Counter[str]) -> None:
    """Archive a page's posts, then delete those that are still as they were archived.

    Where this was cut off before, it goes on from the manifest, which names what a deleted post leaves behind.
    """
    if archive.exists(survey, page):
        entries = archive.read(archive.manifest_key(survey, page))
    else:
        posts = readable(Post, post_ids, note_in(taken), needs=NEEDED, consistent_read=True)
        due = [post.post_id for post in posts if due_for(post, now) == "delete"]
        entries = [entry for post_id in due if (entry := archive.entry_of(post_id))]
        if entries:
            entries = archive.write(survey, page, entries)
    taken["changed"] += len(post_ids) - len(entries)
    for entry in entries:
        if delete_as_archived(entry, now):
            taken["deleted"] += 1
            taken["comments"] += len(entry["comments"])
            taken["files"] += len(entry["files"])
            taken["bytes"] += sum(file["size"] for file in entry["files"])
        else:
            taken["changed"] += 1
    DayCounts.mark(day for entry in entries for day in archive.days_of(entry))


def delete_as_archived(entry: Entry, now: datetime) -> bool:
    """Delete a post as a manifest has it, with all that belongs to it; return whether it is gone."""
    post = Post.from_raw_data(entry["post"])
    Changed.note("deleted", post.post_id)
    if not delete_post(post, is_as_read(post), at=now) and Post.count(post.post_id, consistent_read=True):
        return False
    for model, range_key, rows in ((Comment, "comment_id", entry["comments"]), (Like, "user_id", entry["likes"])):
        with model.batch_write() as batch:
            for row in rows:
                batch.delete(model(post.post_id, row[range_key]["S"]))
    delete_files(entry["files"])
    return True


def is_as_read(post: Post) -> Condition:
    """The condition that nothing of a post has changed since it was read."""
    whole: Condition = Post.post_id.exists()
    for name, attribute in Post.get_attributes().items():
        if not attribute.is_hash_key:
            whole &= as_read(attribute, getattr(post, name))
    return whole


def sum_up(run: Run, survey: str, taken: Counter[str], only: list[str] | None) -> Taken:
    """Move the watermark on to the time of the survey, unless that was bounded, and say what was taken."""
    if not only:
        first = next(archive.manifests(archive.folder("surveys", survey)))
        page = json.loads(s3().get_object(Bucket=archive.bucket(), Key=first)["Body"].read())
        advance(run.task.name, datetime.fromisoformat(page["as_of"]))
    names = ("hidden", "deleted", "shown", "changed", "comments", "files", "bytes", "unreadable")
    return Taken(**{name: taken[name] for name in names}, restore=survey)


lambda_handler = handle.lambda_handler
