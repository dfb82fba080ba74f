"""`backbeat mail`: what it lists, how it settles, and what a preview holds."""

import email
import email.policy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import STACK, Context, Outbox, Queue, answers, function_environment
from typer.testing import CliRunner

import send_content_digest_email
import send_welcome_email
from backbeat.models import Delivery, Post, User, day_key
from backbeat.runtime import RunFailed
from backbeat_ops import commands, mail
from backbeat_ops.cli import app
from backbeat_ops.stack import Stack

NOW = datetime.now(UTC)


@pytest.fixture
def stack(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Stack:
    stack = Stack(STACK)
    variables = function_environment("SendWelcomeEmailFunction")
    monkeypatch.setattr(commands.mail, "the_stack", lambda context: stack)
    monkeypatch.setattr(mail, "site_of", lambda stack, email: mail.Site.of(variables))
    monkeypatch.setenv("DIGEST_SENDERS", "2")
    User.join("user-1", name="Ada <b>", email="ada@example.net", locale="fr", at=NOW)
    User.log_in("user-1", at=NOW)
    return stack


def backbeat(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["mail", *words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else str(done.exception) if code == 1 else done.output


def welcome(user_id: str = "user-1") -> None:
    kwargs = {"user_id": user_id}
    message = {"task": "send_welcome_email", "id": f"run-{user_id}", "kwargs": kwargs, "sent_at": NOW.isoformat()}
    send_welcome_email.handle.lambda_handler(message, Context())


def unknown(outbox: Outbox) -> None:
    outbox.answer = answers(500, "InternalFailure")
    with pytest.raises(RunFailed):
        welcome()
    outbox.answer = lambda request: None


def test_unknown_mails_come_first_and_can_be_asked_for(stack: Stack, outbox: Outbox) -> None:
    unknown(outbox)
    User.join("user-2", name="Bo", email="bo@example.net", at=NOW)
    welcome("user-2")
    assert [(row["state"], row["delivery_id"]) for row in backbeat("list")] == [
        ("unknown", "welcome:user-1"),
        ("sent", "welcome:user-2"),
    ]
    for state, users in (("unknown", ["user-1"]), ("sent", ["user-2"]), ("refused", [])):
        assert [row["user_id"] for row in backbeat("list", "--state", state)] == users
    assert [row["user_id"] for row in backbeat("list", "--limit", "1")] == ["user-1"]
    last_year = f"{NOW - timedelta(days=365):%Y-%m-%d}"
    assert [row["user_id"] for row in backbeat("list", "--day", last_year)] == ["user-1"], "unknown ones of any day"
    table = CliRunner().invoke(app, ["mail", "list"], env={"COLUMNS": "200"}).stdout
    assert "welcome:user-1" in table and "SES gave no clear answer" in table


def test_it_says_how_many_are_left_out(stack: Stack) -> None:
    for number in range(7):
        unsettled = {"state": "sending", "lease_until": NOW - timedelta(days=1)} if number < 2 else {"state": "sent"}
        Delivery(
            f"welcome:u{number}", email="welcome", user_id=f"u{number}", run_id="x", claimed_at=NOW, logical_time=NOW,
            shelf="open#0" if number < 2 else day_key(NOW, f"welcome:u{number}"), **unsettled,
        ).save()  # fmt: skip
    for words, said in (
        (["--limit", "1"], "1 of 7"),
        (["--limit", "3"], "3 of 7"),
        (["--limit", "3", "--state", "sent"], "3 of 5"),
        (["--limit", "7"], ""),
        ([], ""),
    ):
        done = CliRunner().invoke(app, ["mail", "list", *words, "--json"])
        assert len(json.loads(done.stdout)) == int(said[:1] or 7)
        assert done.stderr == (f"{said}: --limit shows more.\n" if said else "")


def test_the_local_clouds_own_list_is_read_back(stack: Stack, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    welcome()
    message_id = Delivery.get("welcome:user-1").message_id
    seen = {message_id: {"to": "ada@example.net", "subject": "Bienvenue"}}
    monkeypatch.setattr(mail, "_on_the_local_cloud", lambda: seen)
    (row,) = backbeat("list")
    assert (row["to"], row["subject"]) == ("ada@example.net", "Bienvenue")


def test_settled_as_sent_it_is_not_sent_again(stack: Stack, outbox: Outbox) -> None:
    unknown(outbox)
    assert backbeat("settle", "welcome:user-1", "--sent")["state"] == "sent"
    assert "is sent, not unknown" in backbeat("settle", "welcome:user-1", "--resend", code=1)
    assert Queue(f"{STACK}-emails-send_welcome_email").depth() == (0, 0)


def test_resent_its_message_goes_out_with_the_logical_time_of_the_first(stack: Stack, outbox: Outbox) -> None:
    unknown(outbox)
    assert backbeat("settle", "welcome:user-1", "--resend")["state"] == "refused"
    queue = Queue(f"{STACK}-emails-send_welcome_email")
    (record,) = queue.receive()["Records"]
    assert datetime.fromisoformat(json.loads(record["body"])["sent_at"]) == NOW
    send_welcome_email.handle.lambda_handler({"Records": [record]}, Context())
    assert (len(outbox.mails), Delivery.get("welcome:user-1").state) == (2, "sent")


def test_a_digest_is_resent_to_its_one_user(stack: Stack, outbox: Outbox) -> None:
    User.join("user-2", name="Bo", email="bo@example.net", at=NOW)
    Post.publish("post-1", author_id="user-2", text="Hello", at=NOW - timedelta(minutes=1))
    User.log_in("user-1", at=NOW)
    message = {"task": "send_content_digest_email", "id": "run-1", "kwargs": {"user_id": "user-1"}}
    outbox.answer = answers(503, "ServiceUnavailable")
    with pytest.raises(RunFailed):
        send_content_digest_email.handle.lambda_handler({**message, "sent_at": NOW.isoformat()}, Context())
    outbox.answer = lambda request: None
    (row,) = backbeat("list")
    backbeat("settle", row["delivery_id"], "--resend")
    Queue(f"{STACK}-emails-send_content_digest_email").deliver(send_content_digest_email.handle)
    assert (len(outbox.mails), Delivery.get(row["delivery_id"]).state) == (2, "sent")


def test_what_is_asked_wrongly_is_said(stack: Stack, tmp_path: Path) -> None:
    assert "Say either --sent or --resend" in backbeat("settle", "welcome:user-1", code=2)
    assert "There is no delivery 'welcome:user-9'" in backbeat("settle", "welcome:user-9", "--sent", code=1)
    assert "There is no user 'user-9'" in backbeat("preview", "welcome", "--user", "user-9", code=1)
    assert "no emails in 'de'" in backbeat("preview", "welcome", "--user", "user-1", "--locale", "de", code=1)
    assert "x.pdf does not end in" in backbeat("preview", "welcome", "--user", "user-1", "--to", "x.pdf", code=2)
    Post.publish("post-1", author_id="user-1", text="My own", at=NOW - timedelta(minutes=1))
    assert "no public post" in backbeat("preview", "content_digest", "--user", "user-1", code=1)
    User.join("user-2", name="Bo", email="bo@[10.0", at=NOW)
    to = str(tmp_path / "bo.eml")
    assert "There would be no mail: user 'user-2'" in backbeat(
        "preview", "welcome", "--user", "user-2", "--to", to, code=1
    )


def test_a_preview_is_the_email_and_sends_nothing(stack: Stack, outbox: Outbox, tmp_path: Path) -> None:
    User.join("user-2", name="Bo", email="bo@example.net", at=NOW)
    Post.publish("post-1", author_id="user-2", text="Salut & bonjour", at=NOW - timedelta(minutes=1))
    for kind in ("welcome", "content_digest"):
        for suffix in ("html", "txt", "eml"):
            backbeat("preview", kind, "--user", "user-1", "--to", str(tmp_path / f"{kind}.{suffix}"))
        message = email.message_from_bytes((tmp_path / f"{kind}.eml").read_bytes(), policy=email.policy.default)
        page = (tmp_path / f"{kind}.html").read_text("utf-8")
        assert message["To"] == "ada@example.net"
        assert message.get_body(("html",)).get_content().splitlines() == page.splitlines()
        assert (
            message.get_body(("plain",)).get_content().splitlines()
            == (tmp_path / f"{kind}.txt").read_text("utf-8").splitlines()
        )
        assert 'Bonjour <span dir="auto">Ada &lt;b&gt;</span>' in page
    assert "Salut &amp; bonjour" in page
    english = backbeat("preview", "welcome", "--user", "user-1", "--locale", "en", "--to", str(tmp_path / "en.html"))
    assert english["subject"] == "Welcome to Backbeat, Ada <b>"
    assert (outbox.mails, list(Delivery.scan())) == ([], [])


def test_a_users_own_mails_of_90_days_are_listed(stack: Stack, outbox: Outbox) -> None:
    User.join("user-2", name="Bo", email="bo@example.net", at=NOW)
    welcome()
    welcome("user-2")
    digest_of = mail.digest.delivery_id("user-1", NOW - timedelta(days=80))
    row = Delivery.get("welcome:user-1")
    row.delivery_id, row.email, row.claimed_at = digest_of, "content_digest", NOW - timedelta(days=80)
    row.save()
    assert [item["delivery_id"] for item in backbeat("list", "--user", "user-1")] == ["welcome:user-1", digest_of]
    assert [item["delivery_id"] for item in backbeat("list", "--user", "user-1", "--limit", "1")] == ["welcome:user-1"]
    assert backbeat("list", "--user", "user-1", "--state", "refused") == []
    assert "leave --day out" in backbeat("list", "--user", "user-1", "--day", "2026-11-02", code=2)


def test_a_digest_is_shown_as_of_any_week(stack: Stack, tmp_path: Path) -> None:
    User.join("bo", name="Bo", email="bo@example.net", at=NOW - timedelta(days=40))
    Post.publish("old", author_id="bo", text="Of five weeks ago", at=NOW - timedelta(days=36), hashtags=[])
    file, at = tmp_path / "digest.txt", NOW - timedelta(days=35)
    backbeat("preview", "content_digest", "--user", "user-1", "--to", str(file), "--at", at.isoformat())
    assert "Of five weeks ago" in file.read_text("utf-8")
    assert "no digest" in backbeat("preview", "content_digest", "--user", "user-1", "--to", str(file), code=1)


def test_an_email_is_shown_as_it_was_sent_where_the_local_cloud_keeps_it(
    stack: Stack, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    welcome()
    kept = {
        "MessageId": Delivery.get("welcome:user-1").message_id,
        "Source": "Backbeat <hello@example.com>",
        "To": ["ada@example.net"],
        "Subject": "Hello",
        "BodyText": "Hi",
        "BodyHtml": "<p>Hi</p>",
        "Timestamp": "1793500000.5",
    }
    assert mail.as_sent("welcome:user-1") is None  # nobody keeps it on AWS
    monkeypatch.setattr(mail, "_kept_by_the_local_cloud", lambda: [kept | {"MessageId": "another"}, kept])
    sent = mail.as_sent("welcome:user-1")
    assert sent is not None
    assert (sent.html, sent.headers["To"], sent.headers["Date"][:11]) == ("<p>Hi</p>", "ada@example.net", "Sun, 01 Nov")
    assert mail.as_sent("welcome:nobody") is None


def test_only_a_digest_for_all_mails_many_and_asks_on_aws(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    digest_task = "send_content_digest_email"
    assert mail.most_mailed(digest_task, {}, NOW) == 1
    assert mail.most_mailed(digest_task, {"user_id": "user-1"}, NOW) == 0
    assert mail.most_mailed("send_welcome_email", {}, NOW) == 0
    monkeypatch.setattr(commands.runs, "the_stack", lambda context: stack)
    queue = Queue(f"{STACK}-emails-{digest_task}")

    def run(*options: str, answer: str = "") -> str:
        return CliRunner().invoke(app, [*options, "run", digest_task], input=answer, env={"BACKBEAT_STACK": ""}).output

    assert "This sends up to 1 email to users of prod" in run("--stack", "prod", answer="n\n")
    assert queue.depth() == (0, 0)
    run("--stack", "prod", answer="y\n")
    run()
    assert queue.depth() == (2, 0)
