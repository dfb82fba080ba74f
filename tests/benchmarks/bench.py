"""Run benchmarks and write down what they print: `bench.py [NAME ...]`, all of them where none is named.

Each is a target of the Makefile, `bench-NAME`, and a section of docs/benchmarks.md; those that are not run keep theirs.
"""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks.md"
HEAD = """# Benchmarks

You want to know what Backbeat costs beside what you would use instead, and whether a change has
made it slower. `make bench` runs every benchmark, each against its peers in one run, and writes
this page; `make bench NAMES="cold mail"` runs some of them, and leaves the others' sections as they
are. Compare ratios, not times: what stands beside one another was measured in turns on one machine.

They need git, uv and npm, and take half an hour on two idle cores. Celery's broker is Redis where
`redis-server` is on the PATH. What can be counted (calls, bytes, what is imported) is held by tests
instead, and nothing that is timed is a test.
"""
ABOUT = {
    "cold": (
        "Cold starts",
        "Processor time from an interpreter's start to the handler imported, from what `sam build` makes,\n"
        "and for the welcome to the end of its first message, against a stand-in for AWS that answers at\n"
        "once. *Other* is commit 50f40b4, before the layers were compiled. The bars: 0.30 of it for an\n"
        "import, 0.45 to the end of the first message. [Decisions](decisions.md) says what the rest is made of.",
    ),
    "mail": (
        "One mail",
        "Welcomes a processor second takes, each rendered from the same files: by the function as it is\n"
        "built; by a Celery worker that reads the user, claims the mail, hands it to SES and settles it;\n"
        "and by one that only sends over SMTP. Only the process that does the work counts; the function\n"
        "also looks for an erasure, writes the ledger and its log, and has no queue to poll, as Lambda\n"
        "does that. The bars: level with the first, 0.6 of the second, and ten mails in 2.5 times one.",
    ),
    "killed": (
        "Workers that are killed",
        "On the local cloud: how long a message takes to its run, and 2,000 welcomes while the processes\n"
        "that send them are killed. Nobody may get two, and whoever gets none must be listed.",
    ),
    "media": (
        "Pictures",
        "A 12-megapixel photo to its renditions, beside the same by other libraries. See [Media](media.md).",
    ),
    "sweeps": (
        "Sweeps",
        "What the nightly tasks read and write at 1, 4 and 16 times the data, with the same changes. See\n"
        "[Sweeps](sweeps.md).",
    ),
    "width": ("A week's digest", "Chosen in parts out of a million posts. See [Scale](scale.md)."),
    "fairness": (
        "Fairness",
        "One member's thousand uploads beside everybody else's, simulated. See [Scale](scale.md).",
    ),
    "django": (
        "The bridge to Django",
        "What the outbox adds to a write, and the import beside raw batch writes. See [Django](django.md).",
    ),
}


def sections() -> dict[str, str]:
    """The page's sections as they are, by their headings."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text("utf-8") if PAGE.exists() else "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def run(name: str) -> str:
    """What a benchmark prints; it goes to the terminal as well."""
    lines = []
    command = ["make", "--no-print-directory", "--silent", f"bench-{name}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "98"}
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.rstrip())
    if process.returncode:
        raise SystemExit(f"make bench-{name} failed; docs/benchmarks.md keeps what it had of it")
    return "\n".join(lines).strip("\n")


def machine() -> str:
    """This machine, in a few words."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def main(names: list[str]) -> None:
    """Run benchmarks, and write the page after each."""
    if unknown := set(names) - set(ABOUT):
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ABOUT)}")
    found = sections()
    for name in names or ABOUT:
        title, about = ABOUT[name]
        when = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
        found[title] = f"\n{about}\n\n{when}:\n\n```text\n{run(name)}\n```"
        page = [f"## {title}\n{found[title].rstrip()}\n\n" for title, _ in ABOUT.values() if title in found]
        PAGE.write_text(f"{HEAD}\n{''.join(page)}".rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
