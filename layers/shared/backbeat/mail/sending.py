"""Emails: rendered from the files in `emails`, put together, and handed to SES once.

Each email is a folder there, with a folder for each language that holds `subject.txt`, `body.txt` and `body.html`.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.charset import QP, Charset
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formataddr
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from backbeat.aws import client
from backbeat.logs import logger
from backbeat.mail import deliveries, names, unsubscribing
from backbeat.mail.addresses import InvalidAddress, normal_form
from backbeat.mail.deliveries import AlreadySent, State, Unknown
from backbeat.models import Unreadable, User
from backbeat.runtime import NotYet, Rejected, Run
from backbeat.text import one_line

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

TEMPLATES = Path(__file__).parent / "emails"
EMAILS = ("welcome", "content_digest")
LOCALES = ("en", "fr")
ABOUT_THE_MAIL = ("MessageRejected", "BadRequestException")
"""SES's refusals that are about this one mail; any other is about the account, and passes. (But see below.)"""
ABOUT_THE_ACCOUNT = re.compile("not verified|for this account|is paused|suspended", re.IGNORECASE)
"""What SES says in a `MessageRejected` that is none of the mail's fault: a sender that is not verified, any recipient
in the sandbox, sending that was paused (SES developer guide, "Amazon SES email sending errors")."""

THROTTLED = ("TooManyRequestsException", "ThrottlingException")
"""SES's refusals that are about how many mails come at a time."""
SECONDS_FOR_ONE = 20
"""What one mail may take, with all time-outs. Begun with less left, it would be cut off by Lambda, and unknown."""


@dataclass(frozen=True, slots=True)
class Site:
    """Who writes: the template's parameters, as a function finds them in its environment.

    Attributes:
        name: The network's name, which is also the sender's.
        sender: The address that mails come from, verified with SES.
        reply_to: The address that answers go to, or nothing for the sender's.
        base_url: Where the network is on the web, without a slash at the end.
        media_url: Where pictures are served from, or nothing: emails show none then.
        unsubscribe_url: Where the function `unsubscribe` answers.
        configuration_set: SES's configuration set, which publishes events.
    """

    name: str
    sender: str
    reply_to: str
    base_url: str
    unsubscribe_url: str
    configuration_set: str
    media_url: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Site":
        """The site that a function's environment variables describe.

        Raises:
            InvalidAddress: One of the addresses is none, or not written as SES takes it.
        """
        reply_to = environment.get("REPLY_TO", "")
        return cls(
            name=environment["SENDER_NAME"],
            sender=_checked("SENDER", environment["SENDER"]),
            reply_to=_checked("REPLY_TO", reply_to) if reply_to else "",
            base_url=environment["BASE_URL"].rstrip("/"),
            unsubscribe_url=environment["UNSUBSCRIBE_URL"],
            configuration_set=environment["CONFIGURATION_SET"],
            media_url=environment.get("MEDIA_BASE_URL", "").rstrip("/"),
        )


def _checked(variable: str, address: str) -> str:
    """An address of the site's own, as it is: what SES has verified, and roles allow, is spelled so.

    Raises:
        InvalidAddress: It is none, or not written as SES takes it.
    """
    try:
        form = normal_form(address)
    except InvalidAddress as error:
        raise InvalidAddress(f"{variable} is {address!r}: {error}") from error
    if form.lower() != address.lower():
        raise InvalidAddress(f"{variable} is {address!r}, and SES takes only {form!r}")
    return address


@dataclass(frozen=True, slots=True)
class Rendered:
    """One email's words.

    Attributes:
        subject: One line.
        text: The body for mail clients that show no HTML.
        html: The body for the others.
    """

    subject: str
    text: str
    html: str


class SendingRefused(Rejected):
    """SES refused this mail; it may be sent again once what it objects to is put right."""


def recipient(user_id: str) -> User:
    """The user whom a mail is to go to, as they are now.

    Raises:
        User.DoesNotExist: There is no such user.
        Rejected: Their row holds what no user's may, such as a date that is none.
    """
    try:
        return User.get(user_id, consistent_read=True)
    except Unreadable as error:
        raise Rejected("unreadable_user", str(error)) from error


def recipients(arguments: Iterable[Mapping[str, Any]]) -> dict[str, User]:
    """The users whom several mails are to go to, those of them that there are, read at once."""
    users = User.batch_get({given["user_id"] for given in arguments}, consistent_read=True)
    return {user.user_id: user for user in users}


def not_written_to(user: User) -> str | None:
    """Why a user gets no email at all, or None where nothing is in the way."""
    if user.deleted_at:
        return f"user {user.user_id} has left"
    if user.email_status != "ok":
        return f"user {user.user_id} is not written to: email_status is {user.email_status!r}"
    return None


def locale_of(user: User) -> str:
    """The language to write to a user in: the nearest to their locale that there are emails in, else English.

    From the locale's end, one part after the other is left off until there are (RFC 4647, section 3.4, "Lookup"):
    `fr-Latn-CA`, `fr-Latn`, `fr`.
    """
    known = {locale.lower(): locale for locale in LOCALES}
    written = re.match(r"[\w-]*", (user.locale or "").strip().lower())
    parts = re.split("[-_]", written[0] if written else "")
    for number in range(len(parts), 0, -1):
        if found := known.get("-".join(parts[:number])):
            return found
    return LOCALES[0]


def render(email: str, locale: str, site: Site, user: User, unsubscribe_url: str, **context: Any) -> Rendered:
    """Render one email for one user, without sending it.

    Args:
        email: Which email, one of `EMAILS`.
        locale: The language, one of `LOCALES`.
        site: Who writes.
        user: Whom it goes to.
        unsubscribe_url: The link that ends the digest for this user.
        **context: What else the email's files show.
    """
    values = {
        "site": site,
        "name": names.shown(user.name),
        "unsubscribe_url": unsubscribe_url,
        "locale": locale,
        **context,
    }

    def rendered(file: str) -> str:
        return _templates().get_template(f"{email}/{locale}/{file}").render(values)

    values["subject"] = one_line(rendered("subject.txt"))
    return Rendered(values["subject"], rendered("body.txt"), rendered("body.html"))


def compose(site: Site, user: User, rendered: Rendered, unsubscribe_url: str) -> EmailMessage:
    """Put a rendered email together for one user, with the headers for one-click unsubscribing (RFC 8058).

    Raises:
        Rejected: The user's address is none that SES could send to.
    """
    message = EmailMessage(policy=_POLICY)
    try:
        local, _, domain = normal_form(user.email).rpartition("@")
    except InvalidAddress as error:
        raise Rejected("invalid_address", f"user {user.user_id!r} has an invalid address: {error}") from error
    message["To"] = Address(username=local, domain=domain)
    message["From"] = Address(one_line(site.name), addr_spec=site.sender)
    if site.reply_to:
        message["Reply-To"] = Address(addr_spec=site.reply_to)
    message["Subject"] = rendered.subject.replace("=?", "= ?")  # or a name could bring an encoded line break
    message["List-Unsubscribe"] = f"<{unsubscribe_url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = f'multipart/alternative; boundary="{_BOUNDARY}"'
    message.set_payload(f"{_part('plain', rendered.text)}{_part('html', rendered.html)}--{_BOUNDARY}--\r\n")
    return message


_BOUNDARY = "=_next"
"""Stands between a mail's parts. No quoted-printable text has a "=_" in it (RFC 2045, section 6.7)."""
_QUOTED = Charset("utf-8")
_QUOTED.body_encoding = QP


def _part(subtype: str, text: str) -> str:
    """One of a mail's parts. `EmailMessage.add_alternative` would take a quarter of the time of a whole delivery."""
    encoded = _QUOTED.body_encode(text).replace("\n", "\r\n")
    return (
        f"--{_BOUNDARY}\r\n"
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        f"{encoded}\r\n"
    )


class Pacer:
    """Spreads mails evenly over time.

    Args:
        per_second: How many mails a second at the most. The first one waits, too, so that whoever goes on where
            another stopped does not start with one too many.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._due = time.monotonic() + self._interval

    @property
    def seconds_to_wait(self) -> float:
        """How long until the next mail may go."""
        return max(0.0, self._due - time.monotonic())

    def wait(self) -> None:
        """Wait until the next mail may go."""
        time.sleep(self.seconds_to_wait)

    def went(self) -> None:
        """Note that a mail goes now. One that was late is not made up for."""
        self._due = time.monotonic() + self._interval


class AdaptivePacer:
    """Spreads a process's mails by what SES takes: as they come until one is throttled, and from then on more slowly.

    Each throttling halves the rate, and it doubles again with the time that passes without one. So functions that know
    nothing of each other, nor of the account's rate, find what is left of it, as senders on one network do (Chiu and
    Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989).
    """

    FIRST = 2.0
    """Mails a second after the first throttling."""
    SLOWEST = 0.1
    SECONDS_TO_DOUBLE = 20.0
    SECONDS_TO_FORGET = 600.0

    def __init__(self) -> None:
        self._lock = Lock()
        self._rate: float | None = None
        self._slowed = self._due = -self.SECONDS_TO_FORGET

    def wait(self, most: float) -> float:
        """Wait for this mail's turn, at most so many seconds; return when that is, on the monotonic clock."""
        with self._lock:
            now = time.monotonic()
            turn = min(max(now, self._due), now + max(0.0, most))
            per_second = self._per_second(now)
            self._due = turn + 1 / per_second if per_second else turn
        if turn > now:
            time.sleep(turn - now)
        return turn

    def throttled(self, sent: float) -> None:
        """Note that SES throttled a mail that was sent at a time; those at work beside it say the same thing once."""
        with self._lock:
            if sent <= self._slowed:
                return
            now = time.monotonic()
            per_second = self._per_second(now)
            self._rate = max(self.SLOWEST, min(self.FIRST, per_second / 2) if per_second else self.FIRST)
            self._slowed = now

    def _per_second(self, now: float) -> float | None:
        """The rate by now; None where nothing is held back."""
        passed = now - self._slowed
        if self._rate is None or passed >= self.SECONDS_TO_FORGET:
            return None
        return self._rate * 2 ** (passed / self.SECONDS_TO_DOUBLE)


_pacer = AdaptivePacer()
"""The process's, for mails that have no other pace."""


def send_once(
    delivery_id: str,
    email: str,
    user: User,
    run: Run,
    *,
    kept: timedelta | None = None,
    pacer: Pacer | None = None,
    **context: Any,
) -> str:
    """Send one email to one user, if nobody has; return SES's id of it.

    Args:
        delivery_id: What makes it one email.
        email: Which email, one of `EMAILS`.
        user: Whom it goes to.
        run: The run that sends it.
        kept: How long it is remembered that it was sent; for ever where it is None.
        pacer: Told when the mail goes; without it, the mail waits for its turn among this process's.
        **context: What else the email's files show.

    Raises:
        AlreadySent: It has been sent.
        InHand: Another sender is at work on it.
        NotYet: There is too little time left.
        Unknown: It may have been sent.
        Erased: The user was erased meanwhile.
        Rejected: What is known of the user makes no mail.
        SendingRefused: SES refuses this mail.
        ClientError, BotoCoreError: SES refuses any mail just now, or is not to be reached; it may be sent again.
    """
    if run.seconds_left < SECONDS_FOR_ONE:
        raise NotYet("too little time is left to send a mail")
    site = Site.of(os.environ)
    link = unsubscribing.link(site.unsubscribe_url, user.user_id, run.now)
    # Whatever can fail by itself comes before the claim.
    tag = deliveries.tag(delivery_id)
    to, raw = _put_together(site, user, email, link, context)
    handing_over = ses()
    sent = time.monotonic() if pacer else _pacer.wait(run.seconds_left - SECONDS_FOR_ONE)
    row = deliveries.claim(delivery_id, email=email, user_id=user.user_id, run=run, kept=kept)
    if pacer:
        pacer.went()
    try:
        answer = handing_over.send_email(
            FromEmailAddress=formataddr((one_line(site.name), site.sender)),  # in ASCII, whatever the name
            Destination={"ToAddresses": [to]},
            Content={"Raw": {"Data": raw}},
            ConfigurationSetName=site.configuration_set,
            EmailTags=[{"Name": "delivery", "Value": tag}],
        )
    except (ClientError, BotoCoreError) as error:
        if not _refused(error):
            deliveries.settle_unknown(row, f"SES gave no clear answer: {type(error).__name__}: {error}")
            if row.state == State.SENT:  # SES's own event was faster
                raise AlreadySent(row) from error
            raise Unknown(row) from error
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in THROTTLED:
            _pacer.throttled(sent)
        deliveries.settle_refused(row, str(error))
        if isinstance(error, ClientError) and _is_about_the_mail(error):
            raise SendingRefused("refused", f"{delivery_id}: {error}") from error
        raise
    message_id = answer["MessageId"]
    logger.info("sent", extra={"delivery_id": delivery_id, "message_id": message_id})
    deliveries.settle_sent(row, message_id)
    return message_id


def _put_together(site: Site, user: User, email: str, link: str, context: Mapping[str, Any]) -> tuple[str, bytes]:
    """The address that one mail goes to, and the whole of it as it travels.

    Raises:
        Rejected: What is known of the user makes no mail.
    """
    try:
        message = compose(site, user, render(email, locale_of(user), site, user, link, **context), link)
        return message["To"].addresses[0].addr_spec, message.as_bytes()
    except Rejected:
        raise
    except Exception as error:  # nothing here asks AWS: whatever fails does so by what is in the row, and would again
        logger.exception("the mail cannot be put together", extra={"user_id": user.user_id})
        why = f"the {email} for user {user.user_id!r} cannot be put together: {type(error).__name__}: {error}"
        raise Rejected("not_a_mail", why) from error


@cache
def ses() -> "SESV2Client":
    """The process's SES client. It makes one attempt only: a second could be a second mail."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 1})
    made: SESV2Client = client("sesv2", config=config)
    made.meta.events.register("before-send.sesv2.SendEmail", _close_after)
    pools = made._endpoint.http_session._manager  # type: ignore[attr-defined]  # no other way leads there
    pools.pool_classes_by_scheme = {
        scheme: type(pool.__name__, (_OneMailEach, pool), {}) for scheme, pool in pools.pool_classes_by_scheme.items()
    }
    return made


def _close_after(request: AWSPreparedRequest, **_: Any) -> None:
    """Have SES close the connection after this mail."""
    request.headers["Connection"] = "close"


class _OneMailEach:
    """Of a pool of connections: each is closed here as well when it comes back.

    One that SES is about to close, and whose end has not come through yet, would look like a mail without an answer to
    whoever took it next, the sooner where several send side by side.
    """

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.close()
        super()._put_conn(connection)  # type: ignore[misc]


def _refused(error: ClientError | BotoCoreError) -> bool:
    """Whether an error means that SES definitely did not take the mail."""
    if isinstance(error, ClientError):
        return 400 <= error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    return isinstance(error, EndpointConnectionError | ConnectTimeoutError)


def _is_about_the_mail(error: ClientError) -> bool:
    """Whether SES refused a mail for what it is, and not for what the account is."""
    code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    return code in ABOUT_THE_MAIL and not ABOUT_THE_ACCOUNT.search(text)


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


class _Policy(EmailPolicy):
    """The rules for writing a message, except that the unsubscribe link is not folded.

    The library would fold a link of over 78 characters by encoding it, and no mail client decodes it there.
    """

    def fold_binary(self, name: str, value: str) -> bytes:
        if name.lower() == "list-unsubscribe":
            return f"{name}: {value}\r\n".encode("ascii")
        return super().fold_binary(name, value)


_POLICY = _Policy(linesep="\r\n")
