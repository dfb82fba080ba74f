"""The console's server: on this machine alone, with a new secret each time."""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import uvicorn

from backbeat_ops.console import app, views
from backbeat_ops.stack import Stack

HOST = "127.0.0.1"
PORT = 4560
"""The first port that is tried; the next free one is taken."""
PORTS_TRIED = 20
SECONDS_TO_END = 1


class Console:
    """A console that is about to serve, or does.

    Args:
        stack: The stack that it shows, with this process pointed at it.
        port: Where it listens; a free port where it is None.
    """

    def __init__(self, stack: Stack, port: int | None = None) -> None:
        boto3.DEFAULT_SESSION = views.Sessions()
        self._socket = _listening(port)
        self.port: int = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        self.url = f"http://{HOST}:{self.port}/?token={token}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app.create(stack, token, self.port),
                log_level="warning",
                access_log=False,  # it would hold the token
                server_header=False,
                timeout_graceful_shutdown=SECONDS_TO_END,
            )
        )

    def serve(self) -> None:
        """Serve until Ctrl-C."""
        self._server.run(sockets=[self._socket])

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Serve while something else goes on."""
        thread = threading.Thread(target=self.serve, name="console", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.should_exit = True
            thread.join(SECONDS_TO_END + 2)


def _listening(port: int | None) -> socket.socket:
    """A socket that listens on the port, or on the first of some that is free.

    Raises:
        OSError: The port is taken.
    """
    for tried in range(PORT, PORT + PORTS_TRIED) if port is None else [port]:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((HOST, tried))
        except OSError:
            made.close()
            if port is not None:
                raise
            continue
        made.listen()  # whoever is told the address now may come at once
        return made
    raise OSError(f"no port from {PORT} to {PORT + PORTS_TRIED - 1} is free")
