"""How a user leaves, and comes back: their rows stay, and nothing is done for them meanwhile."""

from datetime import datetime

from backbeat.models import Activity, Token, User, day_key, update_if
from backbeat.models.arguments import checked
from backbeat.models.users import here


@checked
def leave(user_id: str, *, at: datetime) -> bool:
    """Let a user leave, and end all their tokens; return whether they were here.

    They get no mail and no digest, their posts are in nobody's digest, and no method writes for them: they cannot log
    in, post, like, comment or follow, nor be followed. What they made stays, and so do the counts it is in. It may be
    repeated, and goes on where it was cut off.

    Raises:
        User.DoesNotExist: There is no such user.
    """
    left = update_if(User(user_id), [User.deleted_at.set(at)], here())
    if not left:
        User.get(user_id)  # raises where there is none
    Token.revoke_all(user_id)
    return left


@checked
def come_back(user_id: str, *, at: datetime) -> bool:
    """Let a user who has left come back, as they log in; return whether they had left.

    Their counts are made true by the next `update_user_statistics`, as after any other change.

    Raises:
        User.DoesNotExist: There is no such user.
    """
    actions = [
        User.deleted_at.remove(),
        User.last_login_at.set(at),
        User.login_day.set(day_key(at, user_id)),
        User.touched_at.set(at),
        User.touched_day.set(day_key(at, user_id)),
    ]
    back = update_if(User(user_id), actions, User.user_id.exists() & User.deleted_at.exists())
    if not back:
        User.get(user_id)
    else:
        Activity.record(user_id, at=at)
    return back
