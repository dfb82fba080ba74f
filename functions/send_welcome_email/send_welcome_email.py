"""send_welcome_email: one welcome for each new member, whatever is repeated or crashes.

Its delivery row, `welcome:<user>`, is kept for ever: so a second welcome is not sent years later either.
"""

from dataclasses import dataclass

from backbeat.mail import sending
from backbeat.mail.deliveries import AlreadySent, Erased
from backbeat.models import ErasedUser, User
from backbeat.runtime import NotYet, Run, Skipped, implementation
from backbeat.tasks import send_welcome_email


@dataclass(frozen=True, slots=True)
class WelcomeSent:
    """The result of a run.

    Attributes:
        message_id: SES's id of the mail.
    """

    message_id: str


@implementation(send_welcome_email, ahead=sending.recipients)
def handle(user_id: str, run: Run) -> WelcomeSent | Skipped:
    """Send one welcome; see the declaration for the arguments."""
    try:
        user = (run.ahead or {}).get(user_id) or sending.recipient(user_id)
    except User.DoesNotExist as error:
        if ErasedUser.has(user_id):
            return Skipped("the user was erased", erased=True)
        raise NotYet(f"there is no user {user_id!r} (yet)") from error
    if why := sending.not_written_to(user):
        return Skipped(why)
    try:
        return WelcomeSent(sending.send_once(f"welcome:{user_id}", "welcome", user, run))
    except (AlreadySent, Erased) as why_not:
        return Skipped(str(why_not), erased=isinstance(why_not, Erased))


lambda_handler = handle.lambda_handler
