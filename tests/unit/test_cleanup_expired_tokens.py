"""cleanup_expired_tokens: what is worthless goes, what is renewed or still needed stays."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import STACK, Calls, Context, Queue, event, run_at, run_whole

from backbeat import ledger, sweeps
from backbeat.models import Token, User, day_key
from cleanup_expired_tokens import handle

TASK = "cleanup_expired_tokens"
NIGHT = datetime(2026, 11, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOTHING = {
    "access": 0,
    "refresh": 0,
    "session": 0,
    "blacklist": 0,
    "other": 0,
    "away": 0,
    "renewed": 0,
    "needed": 0,
    "unreadable": 0,
}


@pytest.fixture
def queue(aws: None, few_parts: None) -> Queue:
    return Queue(f"{STACK}-maintenance-{TASK}")


def add(token_id: str, kind: str, expires_at: datetime | None = None, user: str = "ann", **more: Any) -> None:
    Token.new(user, token_id, kind=kind, created_at=NIGHT - 60 * DAY, expires_at=expires_at, **more).save()


def left(user: str = "ann") -> set[str]:
    return {token.token_id for token in Token.query(user)}


def deleted(**kinds: int) -> dict[str, int]:
    return {**NOTHING, **kinds}


@pytest.fixture
def ann(queue: Queue) -> None:
    """A user who logged in lately, with a token of every kind, expired and not."""
    User.join("ann", name="Ann", email="ann@example.com", at=NIGHT - 60 * DAY)
    User.log_in("ann", at=NIGHT - DAY)
    for kind in ("access", "refresh", "device"):
        add(f"{kind}-old", kind, NIGHT - HOUR)
        add(f"{kind}-new", kind, NIGHT + HOUR)
    add("session-old", "session", last_seen_at=NIGHT - 30 * DAY)
    add("session-new", "session", last_seen_at=NIGHT - 30 * DAY + HOUR)


def test_what_has_expired_goes(ann: None, queue: Queue) -> None:
    assert run_at(handle, queue, NIGHT) == deleted(access=1, refresh=1, session=1, other=1)
    assert left() == {"access-new", "refresh-new", "device-new", "session-new"}
    assert sweeps.watermark(TASK) == NIGHT


def test_run_again_there_is_nothing_to_delete(ann: None, queue: Queue, calls: Calls) -> None:
    run_at(handle, queue, NIGHT)
    calls.clear()
    assert run_at(handle, queue, NIGHT + timedelta(minutes=10)) == NOTHING
    queue.send({"task": TASK, "kwargs": {}, "scheduled_time": NIGHT.isoformat()})
    queue.drain(handle)
    assert not calls.number("DeleteItem", "TokensTable")
    assert run_at(handle, queue, NIGHT + DAY) == deleted(access=1, refresh=1, session=1, other=1)
    assert left() == set()


def test_the_first_run_begins_with_the_oldest(queue: Queue) -> None:
    add("ancient", "access", NIGHT - 100 * DAY)
    assert run_at(handle, queue, NIGHT) == deleted(access=1)


def test_one_bad_date_is_one_partition_more(ann: None, queue: Queue) -> None:
    ancient, far = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    add("ancient", "access", ancient)
    add("far", "access", far)
    add("unseen", "session", last_seen_at=ancient)
    User.new("eve", name="Eve", email="eve@example.com", created_at=ancient).save()
    User.log_in("eve", at=ancient)
    assert run_at(handle, queue, NIGHT) == deleted(access=2, refresh=1, session=2, other=1)
    assert "far" in left()
    add("ancient", "access", ancient)
    assert run_at(handle, queue, NIGHT + timedelta(minutes=1), full=True) == deleted(access=1)


def test_after_a_long_gap_it_looks_at_all_there_is(ann: None, queue: Queue, calls: Calls) -> None:
    sweeps.advance(TASK, NIGHT - 2_000 * DAY)
    sweeps.advance(TASK, NIGHT - 2_030 * DAY, "away_since")
    assert run_at(handle, queue, NIGHT) == deleted(access=1, refresh=1, session=1, other=1)
    assert calls.number("Query", "TokensTable") < 20, "not one for each day of the gap"


def test_a_full_run_finds_tokens_that_were_imported(ann: None, queue: Queue) -> None:
    run_at(handle, queue, NIGHT)
    add("imported", "access", NIGHT - 100 * DAY)
    add("unseen", "session", last_seen_at=NIGHT - 50 * DAY)
    User.new(
        "bob",
        name="Bob",
        email="bob@example.com",
        created_at=NIGHT - 90 * DAY,
        last_login_at=NIGHT - 80 * DAY,
        login_day=day_key(NIGHT - 80 * DAY, "bob"),
    ).save()
    add("bobs", "refresh", NIGHT + DAY, user="bob")
    assert run_at(handle, queue, NIGHT + timedelta(minutes=1)) == NOTHING
    assert run_at(handle, queue, NIGHT + timedelta(minutes=2), full=True) == deleted(
        access=1, session=1, refresh=1, away=1
    )
    assert left("bob") == set()


def test_a_session_counts_as_unseen_after_the_days_asked_for(ann: None, queue: Queue) -> None:
    run_at(handle, queue, NIGHT)
    add("session-14", "session", last_seen_at=NIGHT - 14 * DAY)
    assert run_at(handle, queue, NIGHT + HOUR)["session"] == 1, "an hour later, so is the other"
    assert run_at(handle, queue, NIGHT + 2 * HOUR, idle_days=14)["session"] == 1
    assert "session-14" not in left()


def test_a_ban_outlives_the_token_it_is_for(ann: None, queue: Queue) -> None:
    add("ban#lasting", "blacklist", NIGHT - HOUR, bans="lasting")
    add("lasting", "access", NIGHT + 3 * DAY)
    add("ban#over", "blacklist", NIGHT - HOUR, bans="access-old")
    add("ban#gone", "blacklist", NIGHT - HOUR, bans="gone")
    result = run_at(handle, queue, NIGHT)
    assert (result["blacklist"], result["needed"]) == (2, 1)
    assert Token.is_banned("ann", "lasting")
    for days in (1, 2, 3, 4):
        run_at(handle, queue, NIGHT + days * DAY)
        assert ("lasting" in left()) <= Token.is_banned("ann", "lasting")
    assert left() == set()


def test_a_family_stays_together_until_its_newest_token_is_gone(queue: Queue) -> None:
    User.join("ann", name="Ann", email="ann@example.com", at=NIGHT - DAY)
    Token.issue("ann", "r1", kind="refresh", at=NIGHT - 5 * DAY, expires_at=NIGHT - HOUR)
    Token.rotate("ann", "r1", "r2", at=NIGHT - 2 * DAY, expires_at=NIGHT + 2 * DAY)
    Token.issue("ann", "alone", kind="refresh", at=NIGHT - 5 * DAY, expires_at=NIGHT - HOUR)
    assert run_at(handle, queue, NIGHT) == deleted(refresh=1, needed=1)
    assert left() == {"r1", "r2"}
    assert run_at(handle, queue, NIGHT + DAY) == NOTHING
    assert run_at(handle, queue, NIGHT + 3 * DAY) == deleted(refresh=2)
    assert left() == set()


@pytest.mark.parametrize("lives", [True, False])
def test_a_family_of_many_rotations_is_read_once(queue: Queue, calls: Calls, lives: bool) -> None:
    User.join("ann", name="Ann", email="ann@example.com", at=NIGHT - DAY)
    with Token.batch_write() as batch:
        for number in range(400):
            at = NIGHT - 600 * HOUR + number * HOUR
            spent = {"family": "r000", "rotated_at": at + HOUR}
            batch.save(Token.new("ann", f"r{number:03}", kind="refresh", created_at=at, expires_at=at + DAY, **spent))
    if lives:
        add("newest", "refresh", NIGHT + DAY, family="r000")
    calls.clear()
    assert run_at(handle, queue, NIGHT) == (deleted(refresh=300, needed=100) if lives else deleted(refresh=400))
    assert left() == ({f"r{number}" for number in range(300, 400)} | {"newest"} if lives else set())
    assert calls.number("Query", "TokensTable") < 60, "the days from the first on, and the user"
    calls.clear()
    assert run_at(handle, queue, NIGHT + HOUR) == NOTHING
    if lives:
        assert run_at(handle, queue, NIGHT + 2 * DAY) == deleted(refresh=101)
    assert left() == set()


def test_a_page_of_bans_asks_for_what_they_ban_at_once(queue: Queue, calls: Calls) -> None:
    with Token.batch_write() as batch:
        for number in range(40):
            ban = {"kind": "blacklist", "bans": f"a{number}", "created_at": NIGHT - DAY}
            batch.save(Token.new("ann", f"ban#a{number}", expires_at=NIGHT - HOUR, **ban))
    add("a7", "access", NIGHT + DAY)
    calls.clear()
    assert run_at(handle, queue, NIGHT) == deleted(blacklist=39, needed=1)
    assert calls.number("Query", "TokensTable") + calls.number("GetItem", "TokensTable") < 10


def test_a_token_renewed_between_the_read_and_the_delete_stays(ann: None, queue: Queue, calls: Calls) -> None:
    for token in Token.query("ann"):
        token.delete()
    add("renewed", "access", NIGHT - HOUR)
    calls.before(
        "DeleteItem", "TokensTable", lambda: Token.renew("ann", "renewed", at=NIGHT, expires_at=NIGHT + 9 * DAY)
    )
    assert run_at(handle, queue, NIGHT) == deleted(renewed=1)
    add("seen", "session", last_seen_at=NIGHT - 30 * DAY)
    calls.before("DeleteItem", "TokensTable", lambda: Token.seen("ann", "seen", at=NIGHT + HOUR))
    assert run_at(handle, queue, NIGHT + HOUR)["renewed"] == 1
    assert {"renewed", "seen"} <= left()


def test_the_tokens_of_users_who_stay_away_go_but_their_bans_stay(queue: Queue) -> None:
    for user, ago in (("away", 31), ("here", 29)):
        User.join(user, name=user, email=f"{user}@example.com", at=NIGHT - 90 * DAY)
        User.log_in(user, at=NIGHT - ago * DAY)
        for kind in ("access", "refresh", "session"):
            add(kind, kind, NIGHT + 100 * DAY, user=user, last_seen_at=NIGHT)
        add("ban#access", "blacklist", NIGHT + 100 * DAY, user=user, bans="access")
    assert run_at(handle, queue, NIGHT) == deleted(access=1, refresh=1, session=1, away=1)
    assert left("away") == {"ban#access"}
    assert left("here") == {"access", "refresh", "session", "ban#access"}


def test_a_user_of_whom_no_login_is_known_is_not_away(queue: Queue) -> None:
    """As one who was imported with the day they joined, and then got a token, or brought one."""
    for user in ("imported", "came"):
        User.join(user, name=user, email=f"{user}@example.com", at=NIGHT - 400 * DAY)
    add("brought", "refresh", NIGHT + DAY, user="imported")
    Token.issue("came", "got", kind="refresh", at=NIGHT - DAY, expires_at=NIGHT + DAY)
    assert run_at(handle, queue, NIGHT) == NOTHING
    assert (left("imported"), left("came")) == ({"brought"}, {"got"})


def test_a_token_that_was_made_since_stays_though_its_login_was_not_noted(queue: Queue) -> None:
    """As simplejwt's, which leaves `last_login` alone unless UPDATE_LAST_LOGIN is set."""
    User.join("ann", name="Ann", email="ann@example.com", at=NIGHT - 90 * DAY)
    User.log_in("ann", at=NIGHT - 31 * DAY)
    add("old", "refresh", NIGHT + 100 * DAY)
    Token.new("ann", "new", kind="refresh", created_at=NIGHT - DAY, expires_at=NIGHT + DAY).save()
    assert run_at(handle, queue, NIGHT) == deleted(refresh=1, away=1)
    assert left() == {"new"}


def test_a_user_who_comes_back_meanwhile_keeps_what_is_left(queue: Queue, calls: Calls) -> None:
    User.join("ann", name="Ann", email="ann@example.com", at=NIGHT - 90 * DAY)
    User.log_in("ann", at=NIGHT - 31 * DAY)
    for name in ("a", "b", "c"):
        add(name, "access", NIGHT + 100 * DAY)
    calls.before("TransactWriteItems", None, lambda: User.log_in("ann", at=NIGHT))
    assert run_at(handle, queue, NIGHT) == deleted(renewed=1, away=1)
    assert left() == {"a", "b", "c"}


def test_a_token_of_a_user_who_stays_away_that_is_renewed_meanwhile_stays(queue: Queue, calls: Calls) -> None:
    User.join("ann", name="Ann", email="ann@example.com", at=NIGHT - 90 * DAY)
    User.log_in("ann", at=NIGHT - 31 * DAY)
    for name in ("a", "b"):
        add(name, "access", NIGHT + 100 * DAY)
    calls.before(
        "TransactWriteItems",
        None,
        lambda: Token("ann", "a").update([Token.expires_at.set(NIGHT + 200 * DAY)]),
    )
    assert run_at(handle, queue, NIGHT) == deleted(access=1, renewed=1, away=1)
    assert left() == {"a"}


def test_two_runs_at_once_delete_each_token_once(ann: None, queue: Queue, calls: Calls) -> None:
    calls.before("DeleteItem", "TokensTable", lambda: run_whole(handle, "beside", NIGHT))
    result = run_at(handle, queue, NIGHT)
    (beside,) = [run for run in ledger.recent(TASK, NIGHT.date(), 10) if run.run_id == "beside"]
    total = {kind: result[kind] + beside.result[kind] for kind in ("access", "refresh", "session", "other")}
    assert total == {"access": 1, "refresh": 1, "session": 1, "other": 1}
    assert left() == {"access-new", "refresh-new", "device-new", "session-new"}


def test_late_after_a_newer_run_it_deletes_nothing_more(ann: None, queue: Queue, calls: Calls) -> None:
    run_at(handle, queue, NIGHT + DAY)
    add("later", "access", NIGHT + 5 * DAY)
    calls.clear()
    assert run_at(handle, queue, NIGHT) == NOTHING
    assert sweeps.watermark(TASK) == NIGHT + DAY
    assert left() == {"later"}


def test_killed_half_way_it_is_resumed(ann: None, queue: Queue, calls: Calls) -> None:
    def killed() -> None:
        raise ConnectionError("the function was killed")

    calls.before("DeleteItem", "TokensTable", lambda: calls.before("DeleteItem", "TokensTable", killed))
    run_at(handle, queue, NIGHT)
    assert left() == {"access-new", "refresh-new", "device-new", "session-new"}


def test_short_of_time_it_sends_itself_on(ann: None, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "PAGE", 2)
    assert run_at(handle, queue, NIGHT, Context(remaining_ms=20_000)) == deleted(
        access=1, refresh=1, session=1, other=1
    )


def test_the_events_are_what_the_queue_delivers(ann: None, queue: Queue) -> None:
    for name in ("late", "duplicate", "typical", "two_weeks"):
        assert handle.lambda_handler(event(TASK, name), Context())["batchItemFailures"] == []
    queue.drain(handle)
    assert left() == set(), "by noon of that day all have expired, and the session is unseen for two weeks"


def test_poison_is_rejected(queue: Queue) -> None:
    poison = event(TASK, "poison")
    queue.send(poison["Records"][0]["body"])
    queue.drain(handle)
    (letter,) = queue.dead()
    assert letter["reason"] == "invalid_arguments"
