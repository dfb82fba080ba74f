"""For the tests of whoever uses Backbeat: what was sent, and tasks run at once, on tables in memory.

    def test_who_joins_is_welcomed(backbeat_outbox):
        join("ada")
        assert [(sent.task, sent.kwargs) for sent in backbeat_outbox] == [("send_welcome_email", {"user_id": "1"})]

Nothing reaches AWS: what is sent is kept here, and tables, queues and buckets are moto's. It needs `backbeat[testing]`.
"""

from backbeat_testing.cloud import cloud, make_run, run
from backbeat_testing.outbox import Outbox, SentMessage, captured

__all__ = ["Outbox", "SentMessage", "captured", "cloud", "make_run", "run"]
