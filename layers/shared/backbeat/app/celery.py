"""Old names of Celery tasks that lead to the tasks here, for a project that moves and has them all over its code."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec

from backbeat.producer import Task
from backbeat.sent import Sent

P = ParamSpec("P")


class Moved(Generic[P]):
    """A task of before: it is sent with the arguments of before, and arrives with those of now.

        send_welcome = Moved(send_welcome_email, lambda user_id: {"user_id": str(user_id)})

    Attributes:
        task: The task that it leads to.
        arguments: Makes the task's arguments of the old ones.
    """

    def __init__(self, task: Task[Any], arguments: Callable[P, Mapping[str, Any]]) -> None:
        self.task = task
        self.arguments = arguments

    def __call__(self, *_: Any, **__: Any) -> None:
        """Say what a task says that is called."""
        self.task()

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Sent:
        """Send one message, as `Task.delay` does."""
        return self.task.apply_async(kwargs=self.arguments(*args, **kwargs))

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Sent:
        """Send one message now or later, as `Task.apply_async` does, which says what is taken and what is refused."""
        moved: Callable[..., Mapping[str, Any]] = self.arguments
        return self.task.apply_async(kwargs=moved(*args, **(kwargs or {})), **options)
