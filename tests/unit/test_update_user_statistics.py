"""update_user_statistics: whatever happens meanwhile, counts become true, and only what is wrong is written."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from support import STACK, Calls, Context, Queue, event, run_at, run_whole

import update_user_statistics as statistics
from backbeat import ledger, models, sweeps
from backbeat.models import Follow, Post, SweepPart, User, day_key
from backbeat.tasks import update_user_statistics
from update_user_statistics import handle

TASK = "update_user_statistics"
NIGHT = datetime(2026, 11, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)
LONG_AGO = NIGHT - timedelta(days=200)

pytestmark = pytest.mark.usefixtures("aws", "few_parts")


NIGHTS = 4


@pytest.fixture(autouse=True)
def _few_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "NIGHTS", NIGHTS)


@pytest.fixture
def queue(aws: None) -> Queue:
    return Queue(f"{STACK}-analytics-{TASK}")


def add_user(user_id: str, **counts: int) -> None:
    """A user as an application may have written them, with whatever counts."""
    User.new(user_id, name=user_id, email=f"{user_id}@example.com", created_at=LONG_AGO, **counts).save()


def add_follow(follower: str, followed: str) -> None:
    Follow(follower, followed, created_at=LONG_AGO).save()


def touch(user_id: str, at: datetime) -> None:
    User(user_id).update(actions=[User.touched_at.set(at), User.touched_day.set(day_key(at, user_id))])


def kept() -> dict[str, tuple[int, int, int]]:
    return {u.user_id: (u.followers_count, u.following_count, u.posts_count) for u in User.scan()}


def true() -> dict[str, tuple[int, int, int]]:
    """The counts from the raw rows, counted another way."""
    followers = Counter(follow.followed_id for follow in Follow.scan())
    following = Counter(follow.follower_id for follow in Follow.scan())
    posts = Counter(post.author_id for post in Post.scan())
    return {u.user_id: (followers[u.user_id], following[u.user_id], posts[u.user_id]) for u in User.scan()}


@pytest.fixture
def network(aws: None, few_parts: None) -> None:
    """Six users in a ring, whose counts are right but for two."""
    for number in range(6):
        wrong = {1: {"followers_count": 9}, 4: {"posts_count": 5}}.get(number, {})
        add_user(f"u{number}", **{"followers_count": 1, "following_count": 1, **wrong})
        add_follow(f"u{number}", f"u{(number + 1) % 6}")
    Post.new("p", author_id="u4", text="Hi", created_at=LONG_AGO).save()


def test_the_first_run_counts_everyone_and_writes_only_what_is_wrong(network: None, queue: Queue, calls: Calls) -> None:
    result = run_at(handle, queue, NIGHT)
    assert calls.number("UpdateItem", "UsersTable") == 2
    assert result == {"users": 6, "changed": 2, "drift": 8 + 4, "busy": 0, "unreadable": 0}
    assert kept() == true()
    assert sweeps.watermark(TASK) == NIGHT


def test_run_again_there_is_nothing_to_write(network: None, queue: Queue, calls: Calls) -> None:
    run_at(handle, queue, NIGHT)
    calls.clear()
    assert run_at(handle, queue, NIGHT + DAY)["changed"] == 0
    queue.send({"task": TASK, "kwargs": {}, "scheduled_time": (NIGHT + DAY).isoformat()})
    queue.drain(handle)
    assert run_at(handle, queue, NIGHT + DAY + timedelta(hours=1), full=True) == {
        "users": 6,
        "changed": 0,
        "drift": 0,
        "busy": 0,
        "unreadable": 0,
    }
    assert calls.number("UpdateItem", "UsersTable") == 0


def test_a_night_examines_who_was_touched_and_its_slice(network: None, queue: Queue) -> None:
    run_at(handle, queue, NIGHT)
    add_follow("u0", "u3")
    touch("u0", NIGHT + timedelta(hours=9))
    touch("u3", NIGHT + timedelta(hours=9))
    tonight = f"{(NIGHT + DAY).date().toordinal() % NIGHTS:03}"
    in_slice = {u.user_id for u in User.scan() if u.slice_key == tonight}
    result = run_at(handle, queue, NIGHT + DAY)
    assert result["users"] == 2 + len(in_slice)
    assert (result["changed"], result["drift"]) == (2, 2)
    assert kept() == true()


def test_after_an_outage_the_slices_that_were_missed_are_counted(network: None, queue: Queue) -> None:
    run_at(handle, queue, NIGHT)
    for user in User.scan():
        user.update([User.posts_count.set(70)])
    assert run_at(handle, queue, NIGHT + NIGHTS * DAY)["changed"] == 6
    assert kept() == true()


def test_drift_that_nobody_touched_is_repaired_within_a_cycle_of_nights(network: None, queue: Queue) -> None:
    run_at(handle, queue, NIGHT)
    for user in ("u0", "u2", "u5"):
        User(user).update(actions=[User.followers_count.set(77)])
    for night in range(1, NIGHTS + 1):
        run_at(handle, queue, NIGHT + night * DAY)
    assert kept() == true()


def test_a_follow_between_the_count_and_the_correction_is_not_lost(network: None, queue: Queue, calls: Calls) -> None:
    """u1 seems to have 9 followers and has 1; before 1 is written, u3 follows."""
    calls.before("UpdateItem", "UsersTable", lambda: User.follow("u3", "u1", at=NIGHT))
    result = run_at(handle, queue, NIGHT)
    assert User.get("u1").followers_count == 10
    assert (result["changed"], result["busy"]) == (1, 2), "u1, and u3 who has just been touched, are left for later"
    assert run_at(handle, queue, NIGHT + DAY)["changed"] == 1
    assert kept() == true()
    assert User.get("u1").followers_count == 2


def test_an_unfollow_and_a_follow_between_leave_the_correction_for_later(
    network: None, queue: Queue, calls: Calls
) -> None:
    """The count is as it was read, but the rows behind it are not: the time of the touch tells."""

    def change() -> None:
        User.unfollow("u0", "u1", at=NIGHT)
        User.follow("u3", "u1", at=NIGHT)

    calls.before("UpdateItem", "UsersTable", change)
    assert run_at(handle, queue, NIGHT)["busy"] >= 1
    run_at(handle, queue, NIGHT + DAY)
    assert kept() == true()


def test_a_follow_that_the_index_does_not_show_yet_is_not_lost(
    network: None, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_at(handle, queue, NIGHT - DAY)
    User.follow("u3", "u1", at=NIGHT - timedelta(seconds=20))
    real = Follow.by_followed.count
    monkeypatch.setattr(Follow.by_followed, "count", lambda key, **more: real(key, **more) - (key == "u1"))
    assert run_at(handle, queue, NIGHT, full=True)["busy"] == 2
    assert User.get("u1").followers_count == 2
    assert kept() == true()


def test_two_runs_at_once_correct_each_user_once(network: None, queue: Queue, calls: Calls) -> None:
    """The second runs whole while the first is about to write."""
    calls.before("UpdateItem", "UsersTable", lambda: run_whole(handle, "beside", NIGHT, full=True))
    result = run_at(handle, queue, NIGHT)
    assert kept() == true()
    (beside,) = [run.result for run in ledger.recent(TASK, NIGHT.date(), 10) if run.run_id == "beside"]
    assert result["changed"] + beside["changed"] == 2


def test_a_run_that_is_late_changes_nothing_that_a_newer_one_wrote(network: None, queue: Queue, calls: Calls) -> None:
    run_at(handle, queue, NIGHT + DAY)
    User("u2").update(actions=[User.counted_as_of.set(NIGHT + DAY), User.followers_count.set(50)])
    calls.clear()
    run_at(handle, queue, NIGHT, full=True)
    assert User.get("u2").followers_count == 50
    assert sweeps.watermark(TASK) == NIGHT + DAY


def test_killed_half_way_it_is_resumed(network: None, queue: Queue, calls: Calls) -> None:
    def killed() -> None:
        raise ConnectionError("the function was killed")

    run_at(handle, queue, NIGHT - 2 * DAY)
    for number in range(6):
        User(f"u{number}").update(actions=[User.following_count.set(40)])
        touch(f"u{number}", NIGHT - DAY)
    calls.before("UpdateItem", "UsersTable", lambda: calls.before("UpdateItem", "UsersTable", killed))
    run_at(handle, queue, NIGHT)
    assert kept() == true()
    assert sweeps.watermark(TASK) == NIGHT


def test_short_of_time_it_sends_itself_on(network: None, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "PAGE", 1)
    monkeypatch.setattr(models, "slice_key", lambda user_id: "002")
    for number in range(6):
        user = User.get(f"u{number}")
        user.slice_key = "002"
        user.save()
    result = run_at(handle, queue, NIGHT, Context(remaining_ms=20_000))
    assert (result["users"], result["changed"]) == (6, 2)
    assert kept() == true()


@pytest.mark.parametrize("left_ms", [60_000, 20_000])
def test_who_has_very_many_followers_is_counted_in_bounded_steps(
    network: None, queue: Queue, monkeypatch: pytest.MonkeyPatch, left_ms: int
) -> None:
    monkeypatch.setattr(statistics, "LARGE", 5)
    for number in range(23):
        add_follow(f"fan-{number:02}", "u2")
    run_at(handle, queue, NIGHT - DAY)
    User("u2").update(actions=[User.followers_count.set(3)])
    touch("u2", NIGHT - DAY)
    result = run_at(handle, queue, NIGHT, Context(remaining_ms=left_ms))
    assert (result["changed"], result["drift"]) == (1, 21)
    assert kept() == true()
    hops = max(part.hops for part in SweepPart.scan(SweepPart.number.startswith("part#")))
    assert hops == (1 if left_ms == 60_000 else 1 + 6)


def test_who_is_touched_while_their_very_many_followers_are_counted_is_left_alone(
    network: None, queue: Queue, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "LARGE", 5)
    for number in range(6):
        add_follow(f"fan-{number:02}", "u2")
    calls.before("UpdateItem", "UsersTable", lambda: touch("u2", NIGHT))
    result = run_at(handle, queue, NIGHT, Context(remaining_ms=20_000))
    assert (result["users"], result["busy"]) == (6, 1)
    assert User.get("u2").followers_count == 1


def test_a_user_who_left_meanwhile_is_not_written_back(network: None, queue: Queue, calls: Calls) -> None:
    calls.before("UpdateItem", "UsersTable", lambda: User("u1").delete())
    run_at(handle, queue, NIGHT)
    with pytest.raises(User.DoesNotExist):
        User.get("u1")


def test_the_events_are_what_the_queue_delivers(network: None, queue: Queue) -> None:
    assert handle.lambda_handler(event(TASK, "typical"), Context())["batchItemFailures"] == []
    assert handle.lambda_handler(event(TASK, "duplicate"), Context())["batchItemFailures"] == []
    queue.drain(handle)
    assert kept() == true()
    for late in ("late", "full"):
        assert handle.lambda_handler(event(TASK, late), Context())["batchItemFailures"] == []
    queue.drain(handle)
    assert kept() == true()


def test_poison_is_rejected(queue: Queue) -> None:
    queue.send(json.loads(event(TASK, "poison")["Records"][0]["body"]))
    queue.drain(handle)
    (letter,) = queue.dead()
    assert (letter["outcome"], letter["reason"]) == ("rejected", "invalid_arguments")
    assert update_user_statistics.name == TASK
