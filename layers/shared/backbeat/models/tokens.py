"""Access and refresh tokens, sessions, and bans."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection

from backbeat.models.arguments import checked
from backbeat.models.base import Check, Made, Save, Table, Update, delete_all
from backbeat.models.keys import day_key
from backbeat.models.users import write_with_login


class TokenReused(Exception):
    """A refresh token was used that had been exchanged already: someone else may have it, so its family is revoked."""


class TokensByDue(GlobalSecondaryIndex["Token"]):
    """Tokens by the day on which they may be cleaned up."""

    class Meta:
        index_name = "by_due"
        projection = KeysOnlyProjection()

    due_day = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)


class TokensBySeen(GlobalSecondaryIndex["Token"]):
    """Sessions by the day they were seen last."""

    class Meta:
        index_name = "by_seen"
        projection = KeysOnlyProjection()

    seen_day = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)


class Token(Made):
    """A token of a user, or the ban of one. All tokens of a user share a partition, so a read of them is consistent.

    Attributes:
        kind: `access`, `refresh`, `session`, or `blacklist` for the ban of another token.
        expires_at: From when on it is worthless; a session without one ends only by being unseen.
        due_day: `day_key` of when it may be cleaned up: when it expires, or later where another needs it.
        last_seen_at: When a session was used last.
        seen_day: `day_key` of it.
        family: The refresh tokens that were exchanged one for the next share the first one's id.
        rotated_at: When a refresh token was exchanged for the next of its family.
        bans: The id of the token that a `blacklist` entry bans.
    """

    class Meta(Table):
        table_name = os.environ.get("TOKENS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)
    kind = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()
    expires_at = UTCDateTimeAttribute(null=True)
    due_day = UnicodeAttribute(null=True)
    last_seen_at = UTCDateTimeAttribute(null=True)
    seen_day = UnicodeAttribute(null=True)
    family = UnicodeAttribute(null=True)
    rotated_at = UTCDateTimeAttribute(null=True)
    bans = UnicodeAttribute(null=True)
    by_due = TokensByDue()
    by_seen = TokensBySeen()

    @staticmethod
    @checked
    def new(
        user_id: str, token_id: str, *, kind: str, created_at: datetime, expires_at: datetime | None = None, **more: Any
    ) -> "Token":
        """A token with its day keys set, not yet saved; see `Made.save`.

        A refresh token begins a family, a session is seen.
        """
        given: dict[str, Any] = {"kind": kind, "created_at": created_at, "expires_at": expires_at, **more}
        if expires_at:
            given["due_day"] = day_key(expires_at, token_id)
        token = Token(user_id, token_id, **given)
        if kind == "refresh" and not token.family:
            token.family = token_id
        if kind == "session":
            token.last_seen_at = token.last_seen_at or created_at
            token.seen_day = day_key(token.last_seen_at, token_id)
        return token.made_of(given)

    @staticmethod
    @checked
    def issue(user_id: str, token_id: str, *, kind: str, at: datetime, expires_at: datetime | None = None) -> "Token":
        """Add a token, which its user has come for; one that is there already stays as it is.

        Returns:
            The token as it is there.

        Raises:
            User.DoesNotExist: There is no such user, or they have left.
            ValueError: The kind is unknown, or a token that is no session does not expire.
        """
        if kind not in ("access", "refresh", "session"):
            raise ValueError(f"token {token_id!r}: no kind {kind!r}")
        if expires_at is None and kind != "session":
            raise ValueError(f"token {token_id!r}: only a session needs no expires_at")
        token = Token.new(user_id, token_id, kind=kind, created_at=at, expires_at=expires_at)
        if write_with_login(user_id, at, Save(token, Token.token_id.does_not_exist())):
            token.refresh(consistent_read=True)
        return token

    @staticmethod
    @checked
    def rotate(user_id: str, token_id: str, new_id: str, *, at: datetime, expires_at: datetime) -> "Token":
        """Exchange a refresh token for the next of its family; its user has come back by that.

        One that was exchanged before is a sign of theft, and ends the whole family (RFC 9700, section 4.14.2). An
        exchange that meets the end of its family on the way does not take place.

        Raises:
            Token.DoesNotExist: There is no such token, or it has expired.
            TokenReused: It was exchanged before, or another of its family was; the family is revoked.
            User.DoesNotExist: There is no such user, or they have left.
            ValueError: There is a token called `new_id` already.
        """
        old = Token.get(user_id, token_id, consistent_read=True)
        family = old.family or token_id
        new = Token.new(user_id, new_id, kind="refresh", created_at=at, expires_at=expires_at, family=family)

        add = Save(new, Token.token_id.does_not_exist())
        exchangeable = Token.rotated_at.does_not_exist() & (Token.expires_at > at)
        spend = Update(old, [Token.rotated_at.set(at)], exchangeable)
        living = Check(Token, user_id, Token.token_id.does_not_exist(), _revocation(family))
        unmet = write_with_login(user_id, at, add, spend, living)
        if not unmet:
            return new
        if spend in unmet:
            old.refresh(consistent_read=True)
            if not old.rotated_at:
                raise Token.DoesNotExist(f"token {token_id!r} has expired")
        if spend in unmet or living in unmet:
            Token.revoke_family(user_id, family)
            why = "was exchanged before; its family" if spend in unmet else "is of a family that"
            raise TokenReused(f"token {token_id!r} {why} is revoked")
        raise ValueError(f"new_id {new_id!r} is the id of another token")

    @staticmethod
    @checked
    def renew(user_id: str, token_id: str, *, at: datetime, expires_at: datetime) -> None:
        """Let a token live longer; a session is seen, and its user has come back by that.

        Raises:
            Token.DoesNotExist: There is no such token.
            User.DoesNotExist: There is no such user, or they have left.
        """
        token = Token.get(user_id, token_id, consistent_read=True)
        actions: list[Action] = [Token.expires_at.set(expires_at), Token.due_day.set(day_key(expires_at, token_id))]
        if token.kind == "session":
            actions += [Token.last_seen_at.set(at), Token.seen_day.set(day_key(at, token_id))]
        _use(token, actions, at)

    @staticmethod
    @checked
    def seen(user_id: str, token_id: str, *, at: datetime) -> None:
        """Note that a session was used; its user has come back by that.

        Raises:
            Token.DoesNotExist: There is no such session.
            User.DoesNotExist: There is no such user, or they have left.
        """
        actions = [Token.last_seen_at.set(at), Token.seen_day.set(day_key(at, token_id))]
        _use(Token(user_id, token_id), actions, at)

    @staticmethod
    @checked
    def ban(user_id: str, token_id: str, *, at: datetime) -> None:
        """Put a token on the blacklist until it expires itself.

        Raises:
            Token.DoesNotExist: There is no such token.
            ValueError: It never expires: delete it instead.
        """
        banned = Token.get(user_id, token_id, consistent_read=True)
        if banned.expires_at is None:
            raise ValueError(f"token {token_id!r} never expires: revoke it instead")
        Token.new(
            user_id, f"ban#{token_id}", kind="blacklist", created_at=at, expires_at=banned.expires_at, bans=token_id
        ).save()

    @staticmethod
    @checked
    def is_banned(user_id: str, token_id: str) -> bool:
        """Whether a token is on the blacklist."""
        try:
            Token.get(user_id, f"ban#{token_id}", consistent_read=True)
        except Token.DoesNotExist:
            return False
        return True

    @staticmethod
    @checked
    def revoke_all(user_id: str) -> int:
        """Delete all of a user's tokens, but not the bans; return how many."""
        return delete_all(Token, Token.query(user_id, filter_condition=Token.kind != "blacklist", consistent_read=True))

    @staticmethod
    @checked
    def revoke_family(user_id: str, family: str) -> int:
        """Delete a refresh token with all it was exchanged for; return how many.

        The ban of the family comes first. An exchange writes only where there is none, so that it has either taken
        place before, and what it made is deleted here, or does not take place. It may be repeated, and goes on where
        it was cut off.
        """
        tokens = _family(user_id, family)
        if not tokens:
            return 0
        newest = max(tokens, key=lambda token: token.created_at)
        until = max((token.expires_at for token in tokens if token.expires_at), default=newest.created_at)
        Token.new(
            user_id,
            _revocation(family),
            kind="blacklist",
            created_at=newest.created_at,
            expires_at=until,
            bans=family,
        ).save()
        return delete_all(Token, _family(user_id, family))


def _revocation(family: str) -> str:
    """The id of the ban of a whole family."""
    return f"ban#family#{family}"


def _family(user_id: str, family: str) -> list[Token]:
    """All tokens of a family, as they are now."""
    return [token for token in Token.query(user_id, consistent_read=True) if token.family == family]


def _use(token: Token, actions: Sequence[Action], at: datetime) -> None:
    """Update a token that exists; its user has come back by that."""
    change = Update(token, actions, Token.token_id.exists())
    if change in write_with_login(token.user_id, at, change):
        raise Token.DoesNotExist(f"token {token.token_id!r} does not exist")
