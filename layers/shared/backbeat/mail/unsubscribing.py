"""Signed links that let a recipient end the digest without logging in."""

import hashlib
import os
import time
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import urlencode

from itsdangerous import BadSignature, URLSafeSerializer

from backbeat.aws import secretsmanager

VALID_FOR = timedelta(days=365)
"""How long a link works. The law asks for 30 days (CAN-SPAM Act, 15 U.S.C. 7704(a)(3)), but mail is kept longer."""
LONGEST_TOKEN = 1_000
KEY_CACHED = 900
"""Seconds that a process keeps the key."""


class InvalidLink(ValueError):
    """A link that this stack has not signed, or that is no longer valid."""


class ExpiredLink(InvalidLink):
    """A link that was valid once."""


def link(url: str, user_id: str, now: datetime) -> str:
    """The link that ends the digest for one user.

    Args:
        url: Where the function `unsubscribe` answers.
        user_id: The user.
        now: When the link is made, from which on it is valid for `VALID_FOR`.
    """
    token = _serializer().dumps([user_id, int((now + VALID_FOR).timestamp())])
    return f"{url}?{urlencode({'token': token})}"


def user_of(token: str, now: datetime) -> str:
    """The user whom a link's token was made for.

    Raises:
        InvalidLink: It was not signed by this stack, or has been tampered with.
        ExpiredLink: It is too old.
    """
    if len(token) > LONGEST_TOKEN or not token.isascii():
        raise InvalidLink("the token is too long, or holds what no token does")
    try:
        user_id, until = _serializer().loads(token)
    except BadSignature as error:
        raise InvalidLink("the token is not signed by this stack") from error
    if now.timestamp() > until:
        raise ExpiredLink("the token has expired")
    return str(user_id)


def _serializer() -> URLSafeSerializer:
    key = _key(os.environ["UNSUBSCRIBE_KEY"], int(time.monotonic() // KEY_CACHED))
    signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeSerializer(key, salt="backbeat.unsubscribe", signer_kwargs=signing)


@lru_cache(maxsize=1)
def _key(secret: str, period: int) -> str:
    """The secret's value, read once in each period of `KEY_CACHED` seconds."""
    return str(secretsmanager().get_secret_value(SecretId=secret)["SecretString"])
