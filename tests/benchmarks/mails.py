"""What a welcome mail costs, beside Celery: `make bench-mail`.

- Mails a CPU second: the function as it is built, in batches of ten, against a stand-in for AWS that answers at once;
  a Celery worker that sends plainly over SMTP; and one with the same claim, settling and SES call. Only the process
  that does the work is counted. For the function, that leaves out the queue's poller, which is Lambda's.
- How long ten mails of a batch take beside one, where a call takes 10 ms and SES 60.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / ".aws-sam/build"
LAYER = BUILD / "SharedLayer/python"
BIN = ROOT / ".backbeat/bench/celery/bin"
MAILS = 1_000
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
FUNCTION = """
import json, sys, time
sys.path[:0] = {paths!r}
import send_welcome_email
class Context:
    aws_request_id = function_name = invoked_function_arn = "one"
    memory_limit_in_mb = 512
    def get_remaining_time_in_millis(self): return 60_000
def batch(start, size):
    return {{"Records": [{{
        "messageId": str(n), "receiptHandle": "one", "messageAttributes": {{}}, "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:backbeat-emails-send_welcome_email",
        "attributes": {{"SentTimestamp": "1793523600000", "ApproximateReceiveCount": "1"}},
        "body": json.dumps({{"task": "send_welcome_email", "id": str(n), "kwargs": {{"user_id": f"user-{{n}}"}},
                             "sent_at": "2026-11-01T09:00:00Z"}}),
    }} for n in range(start, start + size)]}}
def run(start, size):
    cpu, wall = time.process_time(), time.monotonic()
    assert send_welcome_email.lambda_handler(batch(start, size), Context()) == {{"batchItemFailures": []}}
    return time.process_time() - cpu, time.monotonic() - wall
run(0, 10)
took = [run(start, {size}) for start in range(10, 10 + {mails}, {size})]
sys.stderr.write(json.dumps(took))
"""


def environment(aws: int) -> dict[str, str]:
    """The variables of a function that sends, with AWS on a port of this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "BASE_URL": "https://example.com",
        "CONFIGURATION_SET": "x",
        "SENDER": "hello@example.com",
        "SENDER_NAME": "Backbeat",
        "UNSUBSCRIBE_KEY": "x",
        "UNSUBSCRIBE_URL": "https://example.com/",
        **{f"{table}_TABLE": table for table in ("USERS", "DELIVERIES", "RUNS")},
    }


@contextmanager
def serving(*command: str) -> Iterator[int]:
    """A server that says on which port it is; it ends with the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def mails(aws: int) -> int:
    """How many mails the stand-in for AWS has taken."""
    with urllib.request.urlopen(f"http://127.0.0.1:{aws}/mails") as answer:
        return int(json.load(answer))


def function(aws: int, number: int, size: int) -> list[tuple[float, float]]:
    """Processor and wall seconds of each of the batches in which the function sends a number of mails."""
    program = FUNCTION.format(paths=[str(BUILD / "SendWelcomeEmailFunction"), str(LAYER)], mails=number, size=size)
    before = mails(aws)
    with tempfile.TemporaryFile("w+") as log:  # what a function logs costs it time as well
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", program],
            env=environment(aws),
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        log.seek(0)
        errors = [line for line in log if '"ERROR"' in line]
    if done.returncode or mails(aws) - before != number + 10:
        raise SystemExit(f"{mails(aws) - before} mails went: {done.stderr}{''.join(errors[:1])}")
    return [(cpu, wall) for cpu, wall in json.loads(done.stderr)]


def celery(aws: int, task: str, broker: str, folder: Path) -> float:
    """Processor seconds in which a Celery worker sends `MAILS` mails by a task."""
    marks = folder / f"marks-{time.monotonic_ns()}"
    smtp = (str(BIN / "python"), "-u", str(HERE / "smtp.py"))
    with serving(*smtp) as smtp_port:
        whole = {
            **environment(aws),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(HERE), str(LAYER))),
            "PEERS_BROKER": broker,
            "PEERS_FOLDER": str(folder),
            "SMTP_PORT": str(smtp_port),
        }
        send = (
            f"import peer; [peer.{task}.delay(f'warm-{{n}}') for n in range(20)]; peer.mark.delay({str(marks)!r});"
            f"[peer.{task}.delay(f'user-{{n}}') for n in range({MAILS})]; peer.mark.delay({str(marks)!r})"
        )
        subprocess.run([BIN / "python", "-c", send], env=whole, check=True)
        worker = [str(BIN / "celery"), "-A", "peer", "worker", "--pool", "solo", "--loglevel", "INFO"]
        with subprocess.Popen(
            [*worker, "--without-gossip", "--without-mingle", "--without-heartbeat"],
            env=whole,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "worker.log").open("w"),
        ) as process:
            try:
                while process.poll() is None and (not marks.exists() or len(marks.read_text().splitlines()) < 2):
                    time.sleep(0.1)
            finally:
                process.send_signal(signal.SIGTERM)
        if not marks.exists() or (folder / "worker.log").read_text().count("Traceback"):
            raise SystemExit((folder / "worker.log").read_text()[-3000:])
        begin, end = map(float, marks.read_text().splitlines())
        return end - begin


@contextmanager
def brokered(folder: Path) -> Iterator[tuple[str, str]]:
    """A broker for Celery: Redis where there is a server of it, else files; its address, and what it is."""
    program = shutil.which("redis-server")
    if program is None:
        yield "filesystem://", "a file for each message, as no redis-server is installed"
        return
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while not socket.exists():
                if server.poll() is not None:
                    raise SystemExit(f"{program} ended at once: it says why when it is run by hand")
                time.sleep(0.05)
            yield f"redis+socket://{socket}", "Redis on a socket of this machine"
        finally:
            server.terminate()


def main() -> None:
    """Print what a mail costs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        aws = stack.enter_context(serving(sys.executable, "-u", str(HERE / "standin.py")))
        broker, what = stack.enter_context(brokered(folder))
        took: dict[str, list[float]] = {"function": [], "same": [], "plain": []}
        for _ in range(ROUNDS):
            took["function"].append(sum(cpu for cpu, _ in function(aws, MAILS, 10)))
            for task in ("same", "plain"):
                took[task].append(celery(aws, task, broker, folder))
        sys.stdout.write(f"mails a CPU second, median of {ROUNDS}; Celery's broker is {what}\n\n")
        for name, said in (
            ("function", "send_welcome_email, batches of ten"),
            ("same", "Celery, same claim, settling and SES call"),
            ("plain", "Celery, plainly over SMTP"),
        ):
            ratio = statistics.median(peer / ours for ours, peer in zip(took["function"], took[name], strict=True))
            sys.stdout.write(f"{said:45}{MAILS / statistics.median(took[name]):8.0f}   function / this {ratio:5.2f}\n")
    with serving(sys.executable, "-u", str(HERE / "standin.py"), "0.01", "0.06") as slow:
        one = statistics.median(wall for _, wall in function(slow, 10, 1))
        ten = statistics.median(wall for _, wall in function(slow, 100, 10))
        sys.stdout.write(
            f"\na call takes 10 ms, SES 60: one mail {one * 1000:.0f} ms, a batch of ten {ten * 1000:.0f} ms,"
            f" {ten / one:.2f} times one\n"
        )


if __name__ == "__main__":
    main()
