"""A stand-in for AWS that answers at once, or after the time that it is given: as far as a welcome needs it.

`standin.py [SECONDS_A_CALL SECONDS_A_MAIL]` serves on a free port until it is ended, and says first which. `/mails`
tells how many mails were handed over, as JSON.
"""

import http.server
import json
import sys
import time
from typing import Any

TIME = "2026-11-01T09:00:00.000000+0000"
ROW = {
    **{name: {"S": "x"} for name in ("name", "delivery_id", "run_id", "task", "task_day", "outcome")},
    **{name: {"N": "1"} for name in ("attempt", "attempts")},
    **{name: {"S": TIME} for name in ("created_at", "claimed_at", "lease_until", "started", "logical_time")},
    "user_id": {"S": "one"},
    "email": {"S": "one@example.com"},
    "state": {"S": "sending"},
}


class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers all calls of one kind alike; a batch's rows bear the ids that were asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    mails = 0
    seconds_a_call = seconds_a_mail = 0.0

    def do_POST(self) -> None:
        """Answer a call."""
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if wait := StandIn.seconds_a_call if operation else StandIn.seconds_a_mail:
            time.sleep(wait)
        StandIn.mails += not operation
        answers: dict[str, Any] = {
            "GetItem": {"Item": ROW},
            "UpdateItem": {"Attributes": ROW},
            "TransactWriteItems": {},
            "GetSecretValue": {"SecretString": "secret"},
            "": {"MessageId": "one"},
        }
        if operation == "BatchExecuteStatement":
            answers[operation] = {"Responses": [{"TableName": "RUNS"} for _ in content["Statements"]]}
        if operation == "BatchGetItem":
            asked = content["RequestItems"].items()
            rows = {table: [{**ROW, **key} for key in keys["Keys"]] for table, keys in asked}
            answers[operation] = {"Responses": rows, "UnprocessedKeys": {}}
        self._answer(answers[operation])

    def do_GET(self) -> None:
        """Tell how many mails came."""
        self._answer(StandIn.mails)

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Serves it, to as many as come at a time."""

    request_queue_size = 128


if __name__ == "__main__":
    if sys.argv[1:]:
        StandIn.seconds_a_call, StandIn.seconds_a_mail = map(float, sys.argv[1:])
    with Server(("127.0.0.1", 0), StandIn) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
