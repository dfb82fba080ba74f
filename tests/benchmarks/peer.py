"""Welcome mails as Celery tasks, for `mails.py`: plainly over SMTP, and with the promise that Backbeat makes.

Both render the very same mail, and put it together by the standard library's `EmailMessage`, as Django does. `same`
reads the user, claims the mail, hands it to SES and settles it, with botocore on kept connections, and over a new one
to SES, as a kept one could lose a mail.
"""

import os
import smtplib
import time
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import formataddr
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from celery import Celery

from backbeat.mail import sending, unsubscribing
from backbeat.models import User

BROKER = os.environ["PEERS_BROKER"]
app = Celery("peer", broker=BROKER)
app.conf.task_ignore_result = True
app.conf.worker_hijack_root_logger = False
app.conf.broker_connection_retry_on_startup = True
if BROKER.startswith("filesystem:"):
    folder = os.environ["PEERS_FOLDER"]
    app.conf.broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder}


@cache
def _site() -> sending.Site:
    return sending.Site.of(os.environ)


@cache
def dynamodb() -> Any:
    """A client of DynamoDB as anybody has it."""
    return botocore.session.get_session().create_client("dynamodb")


@cache
def ses() -> Any:
    """A client of SES that tries once, on a connection of each mail's own."""
    made = botocore.session.get_session().create_client("sesv2", config=Config(retries={"total_max_attempts": 1}))
    made.meta.events.register("before-send.sesv2.SendEmail", sending._close_after)
    return made


def _mail(user: User) -> EmailMessage:
    link = unsubscribing.link(_site().unsubscribe_url, user.user_id, datetime.now(UTC))
    rendered = sending.render("welcome", sending.locale_of(user), _site(), user, link)
    message = EmailMessage(policy=sending._POLICY)
    message["To"], message["From"] = user.email, formataddr((_site().name, _site().sender))
    message["Subject"] = rendered.subject
    message["List-Unsubscribe"], message["List-Unsubscribe-Post"] = f"<{link}>", "List-Unsubscribe=One-Click"
    message.set_content(rendered.text, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    return message


@app.task
def plain(user_id: str) -> None:
    """Send a mail over SMTP, as Django's `send_mail` does: a connection for each. The user costs nothing to read."""
    user = User(user_id, name="Ada", email=f"{user_id}@example.com", created_at=datetime.now(UTC))
    with smtplib.SMTP("127.0.0.1", int(os.environ["SMTP_PORT"])) as smtp:
        smtp.send_message(_mail(user))


@app.task(acks_late=True)
def same(user_id: str) -> None:
    """Send a mail that is claimed before and settled after."""
    key: Any = {"delivery_id": {"S": f"welcome:{user_id}"}}
    now = datetime.now(UTC)
    row = dynamodb().get_item(TableName="USERS", Key={"user_id": {"S": user_id}}, ConsistentRead=True)["Item"]
    user = User(user_id, name=row["name"]["S"], email=row["email"]["S"], created_at=now)
    raw = _mail(user).as_bytes()
    dynamodb().update_item(
        TableName="DELIVERIES",
        Key=key,
        UpdateExpression="SET #state = :sending, claimed_at = :now, lease_until = :lease ADD attempt :one",
        ConditionExpression="attribute_not_exists(#state) OR #state = :refused",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={
            ":sending": {"S": "sending"},
            ":refused": {"S": "refused"},
            ":now": {"S": now.isoformat()},
            ":lease": {"S": (now + timedelta(minutes=1)).isoformat()},
            ":one": {"N": "1"},
        },
    )
    answer = ses().send_email(
        FromEmailAddress=_site().sender, Destination={"ToAddresses": [user.email]}, Content={"Raw": {"Data": raw}}
    )
    dynamodb().update_item(
        TableName="DELIVERIES",
        Key=key,
        UpdateExpression="SET #state = :sent, message_id = :id REMOVE lease_until",
        ConditionExpression="#state = :sending",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={
            ":sent": {"S": "sent"},
            ":sending": {"S": "sending"},
            ":id": {"S": answer["MessageId"]},
        },
    )


@app.task
def mark(file: str) -> None:
    """Write down the processor time that this worker has taken by now."""
    with Path(file).open("a") as marks:
        marks.write(f"{time.process_time()}\n")
