"""For Django's own test cases."""

from typing import Any

from backbeat_testing.outbox import Outbox, captured


class CapturesTasks:
    """Mixed into a `TestCase`: `self.backbeat_outbox` has what the test has sent.

    Attributes:
        backbeat_outbox: What was sent, the oldest first; what is sent on commit is there once that is run, as with
            `captureOnCommitCallbacks(execute=True)`.
    """

    backbeat_outbox: Outbox

    def setUp(self) -> None:
        """Begin to keep what is sent."""
        super().setUp()  # type: ignore[misc]
        case: Any = self
        self.backbeat_outbox = case.enterContext(captured())
