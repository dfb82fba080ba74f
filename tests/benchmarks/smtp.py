"""An SMTP server that takes every mail and keeps none; it says first on which port."""

import asyncio
import sys
from typing import Any

from aiosmtpd.smtp import SMTP


class Sink:
    """Takes a mail."""

    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802 - the library's name
        """Answer that it was taken."""
        return "250 taken"


async def main() -> None:
    """Serve until it is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), hostname="localhost"), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
