"""Mail, on the local cloud: what SES took is read back from the emulator."""

import json
import os
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

from support import Backbeat

from backbeat import queues
from backbeat.messages import Message
from backbeat.models import Delivery, Post, User
from backbeat_ops import runs
from backbeat_ops.stack import Stack

NOW = datetime.now(UTC)


def sent_to(domain: str) -> list[dict[str, Any]]:
    """The mails to a domain that the emulator took."""
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/_ministack/ses/messages") as answer:
        accounts = json.load(answer)["messages"]
    return [mail for mails in accounts.values() for mail in mails if mail["To"][0].endswith(f"@{domain}")]


def join(user_id: str, domain: str, locale: str = "en") -> None:
    User.join(user_id, name='Zoë "Zo" <script>', email=f"{user_id}@{domain}", locale=locale, at=NOW)
    User.log_in(user_id, at=NOW)


def test_each_member_is_welcomed_once_though_every_message_comes_twice(cloud: Stack, backbeat: Backbeat) -> None:
    users = [f"twice-{number}" for number in range(12)]
    messages = []
    for number, user_id in enumerate(users):
        join(user_id, "twice.example", ("en", "fr")[number % 2])
        messages.append(
            Message(task="send_welcome_email", id=f"twice-{number}", kwargs={"user_id": user_id}, sent_at=NOW)
        )
    queue = f"{cloud.name}-emails-send_welcome_email"
    for message in [*messages, *messages]:
        queues.put(queue, message.to_json())
    assert {run.outcome for run in runs.wait(messages, 120)} <= {"succeeded", "skipped"}
    mails = sent_to("twice.example")
    assert sorted(mail["To"][0] for mail in mails) == sorted(f"{user_id}@twice.example" for user_id in users)
    assert {mail["Subject"] for mail in mails} == {
        'Welcome to Backbeat, Zoë "Zo" <script>',
        'Bienvenue sur Backbeat, Zoë "Zo" <script>',
    }
    assert all(mail["BodyText"] and "&lt;script&gt;" in mail["BodyHtml"] for mail in mails)
    listed = [row for row in backbeat("mail", "list", "--limit", "200", "--json") if row["user_id"] in users]
    assert {row["state"] for row in listed} == {"sent"}
    assert sorted(row["to"] for row in listed) == sorted(f"{user_id}@twice.example" for user_id in users)


def test_the_link_in_a_mail_asks_first_and_then_unsubscribes(cloud: Stack) -> None:
    join("reader", "link.example")
    message = Message(task="send_welcome_email", id="link", kwargs={"user_id": "reader"}, sent_at=NOW)
    queue = f"{cloud.name}-emails-send_welcome_email"
    queues.put(queue, message.to_json())
    runs.wait([message], 120)
    (mail,) = sent_to("link.example")
    found = re.search(r"https://(\w+)\.lambda-url\.\S+\?token=(\S+)", mail["BodyText"])
    assert found
    page = f"{os.environ['AWS_ENDPOINT_URL']}/_aws/lambda-url/{found[1]}/?token="

    def ask(token: str, data: bytes | None = None) -> int:
        try:
            with urllib.request.urlopen(page + token, data) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert (ask(found[2]), User.get("reader").digest) == (200, True)
    assert (ask(found[2][:-2], b"List-Unsubscribe=One-Click"), User.get("reader").digest) == (403, True)
    assert (ask(found[2], b"List-Unsubscribe=One-Click"), User.get("reader").digest) == (200, False)


def test_a_digest_goes_to_everybody_once_though_it_is_run_twice(cloud: Stack, backbeat: Backbeat) -> None:
    for number in range(4):
        join(f"digest-{number}", "digest.example")
    join("digest-author", "author.example")
    Post.publish("digest-post", author_id="digest-author", text="The week's best", at=NOW - timedelta(hours=1))
    for _ in range(2):
        backbeat("run", "send_content_digest_email", "--wait", "--timeout", "120")
    mails = sent_to("digest.example")
    assert sorted(mail["To"][0] for mail in mails) == [f"digest-{number}@digest.example" for number in range(4)]
    assert all("The week's best" in mail["BodyText"] for mail in mails)
    assert all(Delivery.get(f"content_digest:{NOW:%G-W%V}:digest-{number}").state == "sent" for number in range(4))


def test_one_members_data_is_nobody_elses_trouble(cloud: Stack, backbeat: Backbeat) -> None:
    addresses = {
        "data-dot": "data-dot@data.example.",
        "data-idn": " data-idn@BÜCHER.data.example",
        "data-none": "data-none@[10",
    }
    messages = []
    for user_id, address in addresses.items():
        User.join(user_id, name="You won! https://evil.example/x", email=address, at=NOW)
        messages.append(Message(task="send_welcome_email", id=user_id, kwargs={"user_id": user_id}, sent_at=NOW))
        queues.put(f"{cloud.name}-emails-send_welcome_email", messages[-1].to_json())
    ended = {run.run_id: run.outcome for run in runs.wait(messages, 120)}
    assert ended == {"data-dot": "succeeded", "data-idn": "succeeded", "data-none": "rejected"}
    mails = sent_to("data.example") + sent_to("xn--bcher-kva.data.example")
    assert sorted(mail["To"][0] for mail in mails) == [
        "data-dot@data.example",
        "data-idn@xn--bcher-kva.data.example",
    ]
    assert {mail["Subject"] for mail in mails} == {"Welcome to Backbeat"}
    assert all("evil" not in mail["BodyText"] + mail["BodyHtml"] for mail in mails)
