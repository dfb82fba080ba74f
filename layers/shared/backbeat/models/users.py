"""Users, whom they follow, and on which days they were active."""

import hashlib
import os
from datetime import datetime, timedelta
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection

from backbeat.models.arguments import checked
from backbeat.models.base import (
    Check,
    Delete,
    Made,
    Row,
    Save,
    Table,
    Update,
    Write,
    delete_counted,
    save_if,
    update_if,
    write_together,
)
from backbeat.models.keys import day_key, slice_key

ACTIVITY_KEPT = timedelta(days=40)
"""How long it is known who was active on a day."""


class UsersByDay(GlobalSecondaryIndex["User"]):
    """Users by the day they joined."""

    class Meta:
        index_name = "by_day"
        projection = KeysOnlyProjection()

    day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class UsersByLogin(GlobalSecondaryIndex["User"]):
    """Users by the day they logged in last."""

    class Meta:
        index_name = "by_login"
        projection = KeysOnlyProjection()

    login_day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class UsersByTouch(GlobalSecondaryIndex["User"]):
    """Users by the day their counts changed last."""

    class Meta:
        index_name = "by_touch"
        projection = KeysOnlyProjection()

    touched_day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class UsersBySlice(GlobalSecondaryIndex["User"]):
    """All users, in slices of about the same size."""

    class Meta:
        index_name = "by_slice"
        projection = KeysOnlyProjection()

    slice_key = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class User(Made):
    """A member of the network.

    Attributes:
        locale: The language they are written to in, as a BCP 47 tag.
        email_status: Whether they may be written to: `ok`, `bounced` or `complained`. It is about the address, so
            whoever changes that sets it back to `ok`, and removes `soft_bounces`, as `change` does.
        soft_bounces: The deliveries to them that came back for a passing reason since one last arrived.
        digest: Whether they want the weekly digest.
        deleted_at: When they left; nothing is done for them since.
        day: `day_key` of when they joined.
        login_day: `day_key` of their last login.
        followers_count: How many follow them.
        following_count: How many they follow.
        posts_count: How many posts of theirs there are, hidden ones included.
        touched_at: When one of the three counts changed last.
        touched_day: `day_key` of it.
        counted_as_of: The logical time of the recount that corrected the counts last.
        slice_key: `slice_key` of the id.
    """

    class Meta(Table):
        table_name = os.environ.get("USERS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute()
    email = UnicodeAttribute()
    locale = UnicodeAttribute(default="en")
    email_status = UnicodeAttribute(default="ok")
    soft_bounces = UnicodeSetAttribute(null=True)
    digest = BooleanAttribute(default=True)
    created_at = UTCDateTimeAttribute()
    day = UnicodeAttribute(null=True)
    deleted_at = UTCDateTimeAttribute(null=True)
    last_login_at = UTCDateTimeAttribute(null=True)
    login_day = UnicodeAttribute(null=True)
    followers_count = NumberAttribute(default=0)
    following_count = NumberAttribute(default=0)
    posts_count = NumberAttribute(default=0)
    touched_at = UTCDateTimeAttribute(null=True)
    touched_day = UnicodeAttribute(null=True)
    counted_as_of = UTCDateTimeAttribute(null=True)
    slice_key = UnicodeAttribute(null=True)
    by_day = UsersByDay()
    by_login = UsersByLogin()
    by_touch = UsersByTouch()
    by_slice = UsersBySlice()

    @staticmethod
    @checked
    def new(user_id: str, *, name: str, email: str, created_at: datetime, **more: Any) -> "User":
        """A user with the keys set that the indexes need, not yet saved; see `Made.save`."""
        given: dict[str, Any] = {"name": name, "email": email, "created_at": created_at, **more}
        given |= {"day": day_key(created_at, user_id), "slice_key": slice_key(user_id)}
        return User(user_id, **given).made_of(given)

    @staticmethod
    @checked
    def join(user_id: str, *, name: str, email: str, at: datetime, locale: str = "en") -> bool:
        """Add a user, who is here as if they had logged in; return whether they are new.

        What is not known of a user who is imported is when they logged in: use `new` for them.
        """
        login = {"last_login_at": at, "login_day": day_key(at, user_id)}
        user = User.new(user_id, name=name, email=email, created_at=at, locale=locale, **login)
        if not save_if(user, User.user_id.does_not_exist()):
            return False
        Activity.record(user_id, at=at)
        return True

    @staticmethod
    @checked
    def change(user_id: str, *, name: str | None = None, email: str | None = None, locale: str | None = None) -> bool:
        """Change a user's name, address or language, as far as they are given; return whether anything is different.

        A new address is taken to be good: what bounces and complaints told of the old one is forgotten, and what is
        still told of it concerns the new one no more. Mails and digests read name, address and language when they are
        sent.

        Raises:
            User.DoesNotExist: There is no such user, or they have left.
        """
        given = {"name": name, "email": email, "locale": locale}
        while True:
            user = next(iter(User.query(user_id, consistent_read=True)), None)
            if user is None or user.deleted_at:
                raise no_user(user_id)
            new = {what: value for what, value in given.items() if value is not None and value != getattr(user, what)}
            if not new:
                return False
            actions: list[Action] = [getattr(User, what).set(value) for what, value in new.items()]
            if "email" in new:
                actions += [User.email_status.set("ok"), User.soft_bounces.remove()]
            if update_if(User(user_id), actions, here() & (User.email == user.email)):
                return True  # else the address was changed meanwhile

    @staticmethod
    @checked
    def follow(user_id: str, followed_id: str, *, at: datetime) -> bool:
        """Let one user follow another; return whether they did not already.

        Raises:
            ValueError: They are one and the same.
            User.DoesNotExist: One of them does not exist, or has left.
        """
        if user_id == followed_id:
            raise ValueError(f"user {user_id!r} cannot follow themselves")

        new = Save(Follow(user_id, followed_id, created_at=at), Follow.follower_id.does_not_exist())
        following = count_user(user_id, User.following_count.add(1), at, here=True)
        followed = count_user(followed_id, User.followers_count.add(1), at, here=True)
        unmet = write_together(new, following, followed)
        if new in unmet:
            return False
        if unmet:
            raise no_user(user_id if following in unmet else followed_id)
        Activity.record(user_id, at=at)
        return True

    @staticmethod
    @checked
    def unfollow(user_id: str, followed_id: str, *, at: datetime) -> bool:
        """Let one user no longer follow another; return whether they did."""
        return delete_counted(
            Delete(Follow(user_id, followed_id), Follow.follower_id.exists()),
            count_user(user_id, User.following_count.add(-1), at),
            count_user(followed_id, User.followers_count.add(-1), at),
        )

    @staticmethod
    @checked
    def log_in(user_id: str, *, at: datetime) -> None:
        """Note that a user has come back; an older time than the last known changes nothing but the day's activity.

        Raises:
            User.DoesNotExist: There is no such user, or they have left.
        """
        actions, newer = _login(user_id, at)
        if not update_if(User(user_id), actions, newer) and not _is_here(user_id):
            raise no_user(user_id)
        Activity.record(user_id, at=at)


def write_with_login(user_id: str, at: datetime, *writes: Write) -> list[Write]:
    """Write rows together with the login of their user that they amount to; an older login than the last known is none.

    Whoever deletes what a user who stays away has left, on the condition that they still do, meets them on their row.

    Returns:
        The writes whose conditions did not hold, and then nothing was written; none of them where all was.

    Raises:
        User.DoesNotExist: There is no such user, or they have left, and the other conditions hold.
    """
    login: Write = Update(User(user_id), *_login(user_id, at))
    unmet = write_together(login, *writes)
    if unmet == [login]:
        login = Check(User, user_id, here())
        unmet = write_together(login, *writes)
        if unmet == [login]:
            raise no_user(user_id)
    if not unmet:
        Activity.record(user_id, at=at)
    return [write for write in unmet if write is not login]


def _login(user_id: str, at: datetime) -> tuple[list[Action], Condition]:
    """The change of a login, and its condition: that the user is there, and was not seen later."""
    newer = User.last_login_at.does_not_exist() | (User.last_login_at < at)
    return [User.last_login_at.set(at), User.login_day.set(day_key(at, user_id))], here() & newer


def here() -> Condition:
    """The condition that a user exists and has not left."""
    exists_and_stays: Condition = User.user_id.exists() & User.deleted_at.does_not_exist()
    return exists_and_stays


def no_user(user_id: str) -> Exception:
    """The error that a user is not here, with the reason."""
    has_left = User.count(user_id, consistent_read=True)
    return User.DoesNotExist(f"user {user_id!r} {'has left' if has_left else 'does not exist'}")


def _is_here(user_id: str) -> bool:
    return any(not user.deleted_at for user in User.query(user_id, consistent_read=True))


def count_user(user_id: str, change: Action, at: datetime, *, here: bool = False) -> Update:
    """The change of a count of a user that exists (and has not left), which marks the user as touched."""
    touch = [User.touched_at.set(at), User.touched_day.set(day_key(at, user_id))]
    exists = User.user_id.exists()
    return Update(User(user_id), [change, *touch], exists & User.deleted_at.does_not_exist() if here else exists)


class ErasedUser(Row):
    """That a user was erased, kept beside the runs for ever under the key `erased`: nothing of them comes back.

    Attributes:
        mark: A hash of their id, which nobody can read it from.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    partition = UnicodeAttribute(hash_key=True, attr_name="task_day", default="erased")
    mark = UnicodeAttribute(range_key=True, attr_name="run_id")

    @staticmethod
    def of(user_id: str) -> "ErasedUser":
        """The row of a user, not saved."""
        return ErasedUser(mark=hashlib.sha256(user_id.encode()).hexdigest())

    @staticmethod
    def has(user_id: str) -> bool:
        """Whether a user was erased; they may have joined again since."""
        row = ErasedUser.of(user_id)
        try:
            row.refresh(consistent_read=True)
        except ErasedUser.DoesNotExist:
            return False
        return True


class FollowsByFollowed(GlobalSecondaryIndex["Follow"]):
    """Follows by who is followed."""

    class Meta:
        index_name = "by_followed"
        projection = KeysOnlyProjection()

    followed_id = UnicodeAttribute(hash_key=True)
    follower_id = UnicodeAttribute(range_key=True)


class Follow(Row):
    """One user follows another."""

    class Meta(Table):
        table_name = os.environ.get("FOLLOWS_TABLE", "")

    follower_id = UnicodeAttribute(hash_key=True)
    followed_id = UnicodeAttribute(range_key=True)
    created_at = UTCDateTimeAttribute()
    by_followed = FollowsByFollowed()


class Activity(Row):
    """A user was active on a day: one row however often, kept for 40 days.

    Attributes:
        day: `day_key` of the activity.
    """

    class Meta(Table):
        table_name = os.environ.get("ACTIVITY_TABLE", "")

    day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)
    expires = TTLAttribute()

    @staticmethod
    @checked
    def record(user_id: str, *, at: datetime) -> None:
        """Note that a user was active."""
        Activity(day_key(at, user_id), user_id, expires=at + ACTIVITY_KEPT).save()
