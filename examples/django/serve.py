"""`make django`: the example's network beside the local cloud, until Ctrl-C.

It starts the local cloud where none runs, migrates, brings over what there is, and runs the relay, the pull and
Django's own server side by side.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from backbeat_ops import localcloud

HERE = Path(__file__).resolve().parent
ADDRESS = "127.0.0.1:8000"


def main() -> None:
    """Run everything, and end everything when one of them ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=localcloud.PORT, help="the local cloud's, where none runs yet")
    parser.add_argument("--address", default=ADDRESS, help="where the network is served")
    options = parser.parse_args()
    try:
        url = localcloud.endpoint()
    except localcloud.NotRunning:
        url = localcloud.start(options.port)
    localcloud.use(url)
    localcloud.deploy(say)
    os.environ["BACKBEAT_STACK"] = localcloud.STACK
    manage("migrate", "--verbosity", "0")
    manage("backbeat_import")
    say(f"The network is at http://{options.address}/; Ctrl-C ends it, and the local cloud stays up.")
    running = [
        subprocess.Popen([sys.executable, HERE / "manage.py", *command])
        for command in (
            ("backbeat_relay",),
            ("backbeat_pull", "--every", "2"),
            ("runserver", "--noreload", options.address),
        )
    ]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        running[-1].wait()
    except KeyboardInterrupt:
        say("")
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()


def manage(*command: str) -> None:
    """Run one of the example's commands."""
    subprocess.run([sys.executable, HERE / "manage.py", *command], check=True)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
