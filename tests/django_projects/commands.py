"""Commands of the example's network, one after the other in one process: a JSON list of arguments a line.

Each is answered by a line, `[whether it failed, what it said]`.
"""

import io
import json
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout

import django

django.setup()

import day  # noqa: E402 - Django is set up by then
from django.core.management import call_command  # noqa: E402

answers = sys.stdout
for line in sys.stdin:
    said, failed = io.StringIO(), False
    with redirect_stdout(said), redirect_stderr(said):
        try:
            name, *arguments = json.loads(line)
            if name == "day":
                getattr(day, arguments[0])()
            else:
                call_command(name, *arguments)
        except Exception:  # noqa: BLE001 - the test says what it was
            failed = True
            traceback.print_exc()
    answers.write(f"{json.dumps([failed, said.getvalue()])}\n")
    answers.flush()
