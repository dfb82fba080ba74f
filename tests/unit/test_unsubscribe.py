"""Links in emails: a GET asks, a POST unsubscribes, and only a link that this stack signed does anything."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import permissions
import pytest
from aws_lambda_powertools.utilities import parameters
from itsdangerous import URLSafeSerializer
from support import Context, Outbox, event, function_environment

from backbeat.mail import unsubscribing
from backbeat.models import User
from unsubscribe import lambda_handler

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)  # when the events' requests come


@pytest.fixture
def member(aws: None, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setenv("UNSUBSCRIBE_KEY", function_environment("UnsubscribeFunction")["UNSUBSCRIBE_KEY"])
    user = User("user-1", name="Ada", email="ada@example.net", created_at=NOW)
    user.save()
    return user


def token(user_id: str = "user-1", at: datetime = NOW) -> str:
    return parse_qs(urlsplit(unsubscribing.link("https://u.example/", user_id, at)).query)["token"][0]


def ask(name: str, given: str | None = None, **changes: Any) -> dict[str, Any]:
    request = event("unsubscribe", name)
    if given is not None:
        request["queryStringParameters"] = {"token": given}
    request["headers"].update(changes.pop("headers", {}))
    request["requestContext"]["http"].update(changes)
    with permissions.running("UnsubscribeRole"):
        return lambda_handler(request, Context())


def wants_digest() -> bool:
    return bool(User.get("user-1").digest)


def test_a_get_only_asks(member: User) -> None:
    answer = ask("typical", token())
    assert (answer["statusCode"], wants_digest()) == (200, True)
    assert '<form method="post"><button>Unsubscribe</button></form>' in answer["body"]
    assert "default-src 'none'" in answer["headers"]["content-security-policy"]
    assert (ask("typical", token(), method="HEAD")["statusCode"], wants_digest()) == (200, True)


def test_a_mail_clients_one_click_unsubscribes(member: User) -> None:
    assert ask("one_click", token())["statusCode"] == 200
    assert not wants_digest()
    assert ask("one_click", token())["statusCode"] == 200  # and again


def test_the_page_speaks_the_users_language(member: User) -> None:
    member.update(actions=[User.locale.set("fr")])
    assert "Se désabonner" in ask("typical", token())["body"]
    assert "Ce lien ne fonctionne pas" in ask("typical", "x", headers={"accept-language": "fr-FR"})["body"]


def test_an_expired_link_does_nothing(member: User) -> None:
    old = token(at=NOW - unsubscribing.VALID_FOR - timedelta(days=1))
    assert ask("one_click", old)["statusCode"] == 410
    assert wants_digest()


def test_a_forged_or_foreign_link_does_nothing(member: User) -> None:
    until = int((NOW + timedelta(days=1)).timestamp())
    valid = token()
    foreign = URLSafeSerializer("another stack's key", salt="backbeat.unsubscribe").dumps(["user-1", until])
    key = parameters.get_secret("UnsubscribeKey")
    other_purpose = URLSafeSerializer(key, salt="reset-password").dumps(["user-1", until])
    payload, _, signature = valid.rpartition(".")
    swapped = f"{token('user-2').rpartition('.')[0]}.{signature}"
    for forged in (
        "",
        "x",
        payload,
        f"{payload}.",
        swapped,
        foreign,
        other_purpose,
        valid + "x",
        "y" * 5000,
        "\0é🦊",
        "\ud800",
    ):
        assert ask("one_click", forged)["statusCode"] == 403, forged
    assert ask("without_token")["statusCode"] == 403
    assert wants_digest()


def test_a_link_of_a_user_who_is_no_more_does_nothing(member: User) -> None:
    assert ask("one_click", token("user-2"))["statusCode"] == 403
    with pytest.raises(User.DoesNotExist):
        User.get("user-2")


def test_other_methods_are_refused(member: User) -> None:
    answer = ask("typical", token(), method="DELETE")
    assert (answer["statusCode"], answer["headers"]["allow"]) == (405, "GET, HEAD, POST")


def test_the_link_in_an_email_is_one_that_works(outbox: Outbox, member: User) -> None:
    from send_welcome_email import handle

    welcome = {"task": "send_welcome_email", "id": "1", "kwargs": {"user_id": "user-1"}, "sent_at": NOW.isoformat()}
    handle.lambda_handler(welcome, Context())
    (mail,) = outbox.mails
    link = urlsplit(mail.message["List-Unsubscribe"].strip("<>"))
    assert link.scheme == "https"
    ask("one_click", parse_qs(link.query)["token"][0])
    assert not wants_digest()
