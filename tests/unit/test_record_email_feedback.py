"""What SES tells later settles deliveries and marks addresses, however often and in whatever order it is told."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import ROOT, STACK, Context, Queue, event, template

from backbeat import ledger
from backbeat.mail import deliveries
from backbeat.models import Delivery, User
from record_email_feedback import MOST_SOFT_BOUNCES, handle

WHEN = datetime(2026, 11, 1, 9, tzinfo=UTC)


def told(name: str, delivery_id: str = "welcome:user-1", number: int = 0) -> dict[str, Any]:
    """An event of SES as its queue holds it."""
    stored = event("record_email_feedback", name)
    body: dict[str, Any] = json.loads(stored["Records"][0]["body"])
    body["detail"]["mail"]["tags"]["delivery"] = [deliveries.tag(delivery_id)]
    return {**body, "id": f"{name}-{delivery_id}-{number}"}


@pytest.fixture
def queue(aws: None) -> Queue:
    return Queue(f"{STACK}-users-record_email_feedback")


@pytest.fixture
def user(aws: None) -> User:
    user = User("user-1", name="Ada", email="User-1@example.net", created_at=WHEN)
    user.save()
    return user


def sent(
    delivery_id: str = "welcome:user-1", state: str = "sent", user_id: str = "user-1", when: datetime = WHEN
) -> Delivery:
    row = Delivery(
        delivery_id,
        email="welcome",
        user_id=user_id,
        state=state,
        attempt=1,
        claimed_at=when,
        lease_until=WHEN + timedelta(minutes=1) if state == "sending" else None,
        logical_time=WHEN,
        run_id="run-1",
        shelf="open#0",
    )
    row.save()
    return row


def tell(*events: dict[str, Any]) -> None:
    for one in events:
        handle.lambda_handler(one, Context())  # raises where the run does not succeed


def outcome(run_id: str) -> tuple[str, str | None]:
    (run,) = [run for run in ledger.recent("record_email_feedback", WHEN.date(), 99) if run.run_id == run_id]
    return run.outcome, run.error


@pytest.mark.parametrize("state", ["sending", "unknown"])
@pytest.mark.parametrize("name", ["typical", "delivery", "hard_bounce"])
def test_an_event_settles_a_delivery_that_nobody_could_settle(user: User, state: str, name: str) -> None:
    row = sent(state=state)
    tell(told(name))
    row.refresh()
    assert (row.state, row.message_id) == ("sent", "0100019a3c5e7f21-8f2b1c4e-0000-4a5b-9c8d-1a2b3c4d5e6f-000000")
    assert list(deliveries.unsettled(datetime.now(UTC))) == []


@pytest.mark.parametrize(
    ("name", "status", "feedback"),
    [
        ("typical", "ok", None),
        ("delivery", "ok", "delivered"),
        ("hard_bounce", "bounced", "bounced"),
        ("soft_bounce", "ok", "soft bounce"),
        ("complaint", "complained", "complained"),
        ("not_spam", "ok", None),
        ("reject", "ok", "rejected"),
    ],
)
def test_each_event_leaves_its_mark_once(user: User, name: str, status: str, feedback: str | None) -> None:
    row = sent()
    tell(told(name), told(name), told(name, number=1))
    row.refresh()
    user.refresh()
    assert (user.email_status, row.feedback, row.state) == (status, feedback, "sent")
    assert len(user.soft_bounces or []) == (1 if name == "soft_bounce" else 0)


def test_events_in_any_order_come_to_the_same(user: User) -> None:
    for number, names in enumerate(itertools.permutations(["delivery", "hard_bounce", "complaint"])):
        row = sent(f"welcome:user-1:{number}", state="unknown")
        user.update(actions=[User.email_status.set("ok")])
        tell(*[told(name, row.delivery_id) for name in names])
        row.refresh()
        user.refresh()
        assert (row.state, row.feedback, user.email_status) == ("sent", "complained", "complained"), names


def test_soft_bounces_count_up_before_they_stop(user: User) -> None:
    for number in range(MOST_SOFT_BOUNCES):
        user.refresh()
        assert user.email_status == "ok"
        sent(f"content_digest:{number}:user-1")
        tell(*[told("soft_bounce", f"content_digest:{number}:user-1")] * 2)
    user.refresh()
    assert user.email_status == "bounced"


def test_a_mail_that_arrives_ends_the_count(user: User) -> None:
    bounced(MOST_SOFT_BOUNCES - 1)
    sent(when=WHEN + timedelta(hours=1))
    tell(told("delivery"))
    user.refresh()
    assert (user.email_status, user.soft_bounces) == ("ok", None)


def bounced(number: int) -> list[str]:
    """Have mails sent, one a minute, that come back for a passing reason; return their deliveries."""
    ids = [f"content_digest:{number}:user-1" for number in range(number)]
    for minute, delivery_id in enumerate(ids):
        sent(delivery_id, when=WHEN + timedelta(minutes=minute))
        tell(told("soft_bounce", delivery_id))
    return ids


def test_that_an_earlier_mail_arrived_told_again_or_late_ends_no_count(user: User) -> None:
    sent(when=WHEN - timedelta(minutes=1))
    tell(told("delivery"))
    ids = bounced(MOST_SOFT_BOUNCES - 1)
    tell(told("delivery"), told("delivery", number=1))
    user.refresh()
    assert user.soft_bounces == set(ids)
    sent("content_digest:last:user-1", when=WHEN + timedelta(hours=1))
    tell(told("soft_bounce", "content_digest:last:user-1"))
    user.refresh()
    assert user.email_status == "bounced"


def test_a_mail_that_arrived_and_came_back_counts_as_come_back_in_any_order(user: User) -> None:
    for number, names in enumerate(itertools.product(["delivery", "soft_bounce"], repeat=3)):
        user.update(actions=[User.soft_bounces.set({"content_digest:before:user-1"})])
        sent("content_digest:before:user-1", when=WHEN - timedelta(days=7))
        sent("content_digest:after:user-1", when=WHEN + timedelta(days=7))
        tell(told("soft_bounce", "content_digest:after:user-1", number))
        row = sent(f"welcome:user-1:{number}")
        tell(*[told(name, row.delivery_id, repeat) for repeat, name in enumerate(names)])
        user.refresh()
        expected = {"content_digest:after:user-1"}
        expected |= {row.delivery_id} if "soft_bounce" in names else set()
        expected |= set() if "delivery" in names else {"content_digest:before:user-1"}
        assert user.soft_bounces == expected, names


def test_a_mail_that_is_no_longer_known_is_no_longer_counted(user: User) -> None:
    user.update(actions=[User.soft_bounces.add({"content_digest:2026-W01:user-1"})])
    sent()
    tell(told("delivery"))
    user.refresh()
    assert user.soft_bounces is None


@pytest.mark.parametrize(
    ("stored", "reported"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        (" ada@example.net", "ada@example.net"),
        ("ADA@EXAMPLE.NET.", "ada@example.net"),
        ("ada@example.net", '"Ada, L." <Ada@example.net>'),
        ("Ada <ada@example.net>", "ada@example.net"),
        ("max@straße.de", "max@xn--strae-oqa.de"),
    ],
)
@pytest.mark.parametrize(("name", "status"), [("hard_bounce", "bounced"), ("complaint", "complained")])
def test_an_address_is_marked_in_whatever_form_it_is_stored_and_reported(
    user: User, stored: str, reported: str, name: str, status: str
) -> None:
    user.update(actions=[User.email.set(stored)])
    sent()
    happened = told(name)
    happened["detail"]["mail"]["destination"] = []
    kind, recipients = {
        "hard_bounce": ("bounce", "bouncedRecipients"),
        "complaint": ("complaint", "complainedRecipients"),
    }[name]
    happened["detail"][kind][recipients] = [{"emailAddress": reported}]
    tell(happened)
    user.refresh()
    assert user.email_status == status


def test_a_bounce_of_where_a_mail_was_forwarded_to_marks_who_it_was_sent_to(user: User) -> None:
    sent()
    happened = told("hard_bounce")
    happened["detail"]["bounce"]["bouncedRecipients"][0]["emailAddress"] = "ada@elsewhere.example"
    tell(happened)
    user.refresh()
    assert user.email_status == "bounced"


def test_a_mail_to_an_old_address_that_arrived_says_nothing_of_the_new_one(user: User) -> None:
    user.update(actions=[User.email.set("new@example.net")])
    ids = [f"content_digest:{number}:user-1" for number in range(2)]
    user.update(actions=[User.soft_bounces.add(set(ids))])
    sent()
    tell(told("delivery"))
    user.refresh()
    assert user.soft_bounces == set(ids)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("abuse", "complained"),
        ("fraud", "complained"),
        ("other", "complained"),
        (None, "complained"),
        ("auth-failure", "ok"),
        ("virus", "ok"),
        ("not-spam", "ok"),
    ],
)
def test_only_a_wish_to_stop_is_a_complaint(user: User, kind: str | None, status: str) -> None:
    row = sent(state="unknown")
    complaint = told("complaint")
    complaint["detail"]["complaint"]["complaintFeedbackType"] = kind
    tell(complaint)
    row.refresh()
    user.refresh()
    assert (user.email_status, row.feedback) == (status, "complained" if status == "complained" else None)
    assert row.state == "sent", "whatever it is about, the mail was there"


def test_a_mail_whose_template_failed_is_not_taken_to_have_arrived(user: User) -> None:
    row = sent(state="unknown")
    user.update(actions=[User.soft_bounces.add({"content_digest:1:user-1"})])
    tell(told("rendering_failure"))
    row.refresh()
    user.refresh()
    assert (row.state, row.feedback, user.email_status) == ("sent", "rejected", "ok")
    assert user.soft_bounces == {"content_digest:1:user-1"}


@pytest.mark.parametrize("kind", ["Open", "Click", "Subscription", "Something New"])
def test_an_event_of_another_kind_settles_nothing(user: User, kind: str) -> None:
    row = sent(state="unknown")
    opened = told("typical")
    opened["detail"]["eventType"] = kind
    tell(opened)
    row.refresh()
    assert row.state == "unknown"
    assert outcome("typical-welcome:user-1-0") == ("skipped", f"what SES tells by {kind!r} settles nothing")


def test_an_address_changed_since_is_not_marked(user: User) -> None:
    sent()
    user.update(actions=[User.email.set("new@example.net")])
    tell(told("hard_bounce"), told("complaint"))
    user.refresh()
    assert user.email_status == "ok"


def test_what_cannot_be_placed_is_skipped(user: User) -> None:
    tell(told("hard_bounce", "welcome:user-9"))
    assert outcome("hard_bounce-welcome:user-9-0") == ("skipped", "there is no such delivery (any more)")
    sent("welcome:user-2", user_id="user-2")
    tell(told("hard_bounce", "welcome:user-2"))
    assert outcome("hard_bounce-welcome:user-2-0") == ("skipped", "there is no such user any more")
    foreign = told("hard_bounce", number=2)
    del foreign["detail"]["mail"]["tags"]["delivery"]
    tell(foreign)
    assert "bears no delivery tag" in str(outcome("hard_bounce-welcome:user-1-2"))


@pytest.mark.parametrize(
    "tags", [{"delivery": ["///"]}, {"delivery": [""]}, {"delivery": []}, {"delivery": None}, "delivery", []]
)
def test_a_tag_that_is_none_of_ours_is_rejected_or_skipped(queue: Queue, user: User, tags: Any) -> None:
    strange = told("hard_bounce")
    strange["detail"]["mail"]["tags"] = tags
    queue.send(strange)
    assert queue.deliver(handle) == []
    assert [letter["reason"] for letter in queue.dead()] == ([] if tags == [] else ["invalid_event"])


def test_the_events_of_lambda_are_understood(queue: Queue, user: User) -> None:
    sent()
    for path in sorted((ROOT / "events/record_email_feedback").glob("*.json")):
        batch = json.loads(path.read_text())
        for record in batch["Records"]:
            record["eventSourceARN"] = f"arn:aws:sqs:us-east-1:123456789012:{queue.name}"
        assert handle.lambda_handler(batch, Context()) == {"batchItemFailures": []}, path.name
    assert [letter["reason"] for letter in queue.dead()] == ["invalid_event"]


def test_ses_publishes_every_kind_of_event_that_is_handled() -> None:
    destination = template()["Resources"]["MailFeedbackDestination"]["Properties"]["EventDestination"]
    handled = {"Send", "Delivery", "Bounce", "Complaint", "Reject", "Rendering Failure"}
    assert {kind.title().replace("_", " ") for kind in destination["MatchingEventTypes"]} == handled
    stored = {
        json.loads(json.loads(path.read_text())["Records"][0]["body"])["detail"]["eventType"]
        for path in (ROOT / "events/record_email_feedback").glob("*.json")
    }
    assert stored == handled
