"""Dead letters: grouped by cause, tried again, edited, discarded. The letters themselves are `backbeat.letters`."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import unified_diff
from itertools import groupby
from typing import Any

from backbeat import ledger, letters, messages, queues
from backbeat.aws import sqs
from backbeat.ledger import SETTLED, Outcome
from backbeat.letters import Letter
from backbeat.messages import InvalidMessage, Message, iso
from backbeat.models import RunRecord
from backbeat.producer import PRIORITIES, InvalidTaskArguments
from backbeat.queues import QueueNotFound
from backbeat.tasks import TASKS
from backbeat_ops import runs
from backbeat_ops.stack import NotFound

RATE = 50.0
"""Letters a second that are sent to their queues, unless another rate is asked for."""
MOST_BYTES = 200_000
"""Bytes of the messages that go in one call; SQS takes 256 KiB, as it took for long."""
EXAMPLES = 5
"""Ids that a cause names."""
READERS = 8
"""Queues that are read at once."""
LONGEST_REASON = 500
"""Characters of the reason for which a letter was discarded."""


class NotFit(ValueError):
    """What was made of a letter is no message that its task takes."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Letters that are dead for one reason.

    Attributes:
        cause: A short id, the same as long as the reason is.
        task: The task.
        task_class: Its class.
        reason: The short code for why.
        error: The error's shape: what differs between its letters stands as `…` or `N`.
        example: The error of one of them, as it is.
        letters: How many letters there are.
        first_sent: When the oldest of their messages was sent.
        last_sent: When the newest was.
        ids: The ids of some, the oldest first.
    """

    cause: str
    task: str
    task_class: str
    reason: str
    error: str
    example: str
    letters: int
    first_sent: datetime
    last_sent: datetime
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of letters.

    Attributes:
        done: The ids of those that were sent, or discarded.
        failed: Why it could not be done, by id; these are as they were.
        missed: The ids of those that are gone, or that somebody else looks at; after a minute they are to be had again.
    """

    done: list[str]
    failed: dict[str, str]
    missed: list[str]


def shown(letter: Letter) -> dict[str, Any]:
    """A letter as plain values, with what the ledger says of it.

    Beside what `brief` has: `attempts`, how often it was tried, as far as the ledger knows; `message`, the message
    where it can be read as one; and `body` as it will be sent.
    """
    message, run = letter.message(), run_of(letter)
    return brief(letter) | {
        "attempts": int(run.attempts) if run else None,
        "message": message and message.content(),
        "body": letter.body,
        "next": next_steps(letter),
    }


def next_steps(letter: Letter) -> list[str]:
    """What to type next about a letter."""
    steps = [] if letter.cannot else [f"backbeat dead retry {letter.id} --wait"]
    if letter.reason == "unknown_delivery":
        steps.insert(0, "backbeat mail list --state unknown")
    return [
        *steps,
        f"backbeat dead edit {letter.id}",
        f"backbeat dead retry --cause {cause_of(letter)}",
        f'backbeat dead discard {letter.id} --reason "..."',
    ]


def brief(letter: Letter) -> dict[str, Any]:
    """A letter as plain values: the one shape in which it is shown.

    `id` is by which it is named, `cause` what it is grouped by, `letter_id` SQS's own id.
    """
    return {
        "id": letter.id,
        "letter_id": letter.letter_id,
        "task": letter.task,
        "class": TASKS[letter.task].task_class,
        "cause": cause_of(letter),
        "outcome": letter.outcome,
        "reason": letter.reason,
        "error": letter.error,
        "run_id": letter.run_id,
        "part": letter.part,
        "first_sent": iso(letter.first_sent),
        "cannot_be_sent": letter.cannot,
    }


def look(tasks: Iterable[str] | None = None) -> list[Letter]:
    """The dead letters of some tasks, or of all: those of the most important class first, then the oldest.

    A crash may leave two copies of one: both are here, and count as one wherever letters are counted.
    """
    names = sorted(tasks if tasks is not None else TASKS, key=lambda name: (-PRIORITIES[TASKS[name].task_class], name))
    with ThreadPoolExecutor(READERS) as pool:
        found = [letter for of_task in pool.map(_of_task, names) for letter in of_task]
    return _told(found)


def find(given: str, among: Sequence[Letter] | None = None) -> list[Letter]:
    """The letter of that id (its run's, with `#` and its number for a part, or SQS's own), and its copies.

    Args:
        given: The id.
        among: Letters that were looked at; all are looked at where it is None.

    Raises:
        NotFound: There is none, or several tasks have one.
    """
    found = [letter for letter in (look() if among is None else among) if given in (letter.id, letter.letter_id)]
    if not found:
        raise NotFound(
            f"There is no dead letter {given!r}. `backbeat dead list` has them; one that somebody else looks at is "
            "back within a minute."
        )
    if len({(letter.task, letter.body) for letter in found}) > 1:
        ids = ", ".join(f"{letter.letter_id} of {letter.task}" for letter in found)
        raise NotFound(f"Several dead letters are called {given!r}; say which by SQS's id: {ids}.")
    return found


def chosen(
    found: Sequence[Letter], task_class: str | None = None, task: str | None = None, cause: str | None = None
) -> list[Letter]:
    """The letters of a class, a task, and a cause (its id, or its reason).

    Raises:
        NotFound: There is no such class, task or cause.
    """
    if task_class is not None and task_class not in PRIORITIES:
        raise NotFound(f"There is no class {task_class!r}. Classes: {', '.join(PRIORITIES)}.")
    if task is not None:
        runs.the_task(task)
    if cause is not None and not any(cause in (letter.reason, cause_of(letter)) for letter in found):
        known = ", ".join(f"{each.cause} ({each.reason})" for each in causes(found)) or "none"
        raise NotFound(f"There is no cause {cause!r}. Causes: {known}.")
    return [
        letter
        for letter in found
        if task_class in (None, TASKS[letter.task].task_class)
        and task in (None, letter.task)
        and (cause is None or cause in (letter.reason, cause_of(letter)))
    ]


def causes(found: Iterable[Letter]) -> list[Cause]:
    """What letters are dead for: the tasks of the most important class first, then what has most letters."""
    groups: dict[str, list[Letter]] = {}
    for letter in found:
        groups.setdefault(cause_of(letter), []).append(letter)
    made = []
    for cause, group in groups.items():
        group.sort(key=lambda letter: letter.first_sent)
        first = group[0]
        made.append(
            Cause(
                cause=cause,
                task=first.task,
                task_class=TASKS[first.task].task_class,
                reason=first.reason,
                error=shape(first),
                example=first.error,
                letters=len({letter.id for letter in group}),
                first_sent=first.first_sent,
                last_sent=group[-1].first_sent,
                ids=list(dict.fromkeys(letter.id for letter in group))[:EXAMPLES],
            )
        )
    return sorted(made, key=lambda each: (-PRIORITIES[each.task_class], each.task, -each.letters))


def cause_of(letter: Letter) -> str:
    """A short id of what a letter is dead for."""
    return hashlib.sha256(f"{letter.task}\n{letter.reason}\n{shape(letter)}".encode()).hexdigest()[:6]


def shape(letter: Letter) -> str:
    """A letter's error without what differs from one letter to the next: names, files, ids, numbers."""
    text, message = letter.error, letter.message()
    for value in sorted(_texts(message.kwargs if message else {}), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", text)
    text = text.replace(letter.run_id, "…")
    for pattern, instead in _DIFFERS:
        text = pattern.sub(instead, text)
    return text


_DIFFERS = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "'…'"),
    (re.compile(r"\d{4}-\d\d-\d\d(?:[T ][\d:.]+)?(?:Z|[+-]\d\d:\d\d)?"), "…"),
    (re.compile(r"[^\s,;()]*[^\s,;()]/[^\s,;()]*[^\s:,;()]"), "…"),
    (re.compile(r"\b(?=[\w.-]*\d)(?=[\w.-]*[^\W\d])[\w.-]*\w"), "…"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "N"),
)
"""What differs: what stands in quotes, times, paths and keys, names with digits in them, numbers."""
SHORTEST = 3
"""Characters of an argument that is looked for in an error: `a` or `on` is a word."""


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value) >= SHORTEST:
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def retry(
    wanted: Sequence[Letter],
    *,
    rate: float = RATE,
    progress: Callable[[int], None] = lambda done: None,
    pause: Callable[[float], None] = time.sleep,
) -> Done:
    """Send letters to their tasks' queues, each with its run's id, so that the same row of the ledger turns.

    A letter is deleted when its message is on the queue. A crash in between leaves both, and the second is a duplicate,
    which changes nothing.

    Args:
        wanted: Letters that were looked at.
        rate: At most so many a second.
        progress: Told how many are done.
        pause: Waits for so many seconds.
    """
    started = time.monotonic()

    def send(task: str, page: list[Letter]) -> dict[str, str]:
        failed = {letter.id: f"It cannot be sent as it is: {letter.cannot}." for letter in page if letter.cannot}
        return failed | _send(task, [letter for letter in page if not letter.cannot])

    def paced(done: int) -> None:
        progress(done)
        early = done / rate - (time.monotonic() - started)
        if early > 0:
            pause(early)

    return _each(wanted, send, paced)


def discard(wanted: Sequence[Letter], reason: str, *, progress: Callable[[int], None] = lambda done: None) -> Done:
    """Delete letters, and keep in the ledger for which reason; it is written before the letter goes.

    Raises:
        ValueError: There is no reason, or it is too long.
    """
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise ValueError(f"A reason has 1 to {LONGEST_REASON} characters.")

    def note(task: str, page: list[Letter]) -> dict[str, str]:
        for letter in page:
            ledger.discard(
                _named(letter), TASKS[task].task_class, Outcome(letter.outcome), letter.reason, letter.error, reason
            )
        return {}

    return _each(wanted, note, progress)


def draft(letter: Letter) -> str:
    """A letter's message as a text to edit: JSON where it can be read as a message, else the body as it is."""
    message = letter.message()
    if message is None:
        return letter.body
    return json.dumps(message.content(), indent=2, ensure_ascii=False)


def edited(letter: Letter, text: str) -> str:
    """The body that an edited text comes to; its run stays the same.

    Raises:
        NotFit: It is no message, is one of another run, or its arguments do not fit the task's declaration.
    """
    try:
        message = messages.parse(text, letter.task, letter.run_id, letter.first_sent)
        if message is None:
            raise NotFit("it asks for nothing")
        if (message.id, message.part) != (letter.run_id, letter.part) and letter.message() is not None:
            raise NotFit(f"its id and part are those of its run, {letter.id}, and stay")
        TASKS[letter.task].parse(message.kwargs)
    except (InvalidMessage, InvalidTaskArguments) as error:
        raise NotFit(str(error)) from error
    return message.to_json()


def send_edited(wanted: Sequence[Letter], body: str) -> Done:
    """Send a letter as it was edited, in place of it and of its copies.

    Args:
        wanted: The letter and its copies, as `find` has them.
        body: What `edited` made of it.
    """

    def send(task: str, page: list[Letter]) -> dict[str, str]:
        return _send(task, [replace(letter, body=body) for letter in page])

    return _each(wanted, send, lambda done: None)


def changes(letter: Letter, body: str) -> list[str]:
    """The lines that an edit changes, each with `-` or `+` before it."""
    after = draft(replace(letter, body=body))
    return [
        line
        for line in unified_diff(draft(letter).splitlines(), after.splitlines(), n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]


def outcome_of(letter: Letter, before: RunRecord | None, seconds: float) -> RunRecord | None:
    """Wait for a letter's next attempt to end; return its run, or None where nothing was heard of it in time.

    Args:
        letter: The letter, which has been sent.
        before: Its run, as `run_of` gave it before.
        seconds: How long to wait.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        run = run_of(letter)
        new = run is not None and (before is None or run.request_id != before.request_id)
        if run is not None and new and run.outcome in {*SETTLED, Outcome.RETRYING, Outcome.IN_PARTS}:
            return run
        time.sleep(runs.SECONDS_BETWEEN_LOOKS)
    return None


def run_of(letter: Letter) -> RunRecord | None:
    """A letter's run, or its part of it, as the ledger has it."""
    return ledger.find(_named(letter))


def number(name: str) -> int:
    """About how many letters a task has; one that is declared here and not deployed yet has none."""
    try:
        return letters.number(TASKS[name])
    except QueueNotFound:
        return 0


def _of_task(name: str) -> list[Letter]:
    if not number(name):
        return []
    with letters.looking(TASKS[name]) as look:
        return sorted(look, key=lambda letter: letter.first_sent)


def _told(found: list[Letter]) -> list[Letter]:
    """Letters with what only the ledger says of them: a body of the greatest size left no room for it."""
    silent = {ledger.key(_named(letter)): letter for letter in found if not letter.told}
    known = {(run.task_day, run.run_id): run for run in RunRecord.batch_get(list(silent))} if silent else {}
    better = {
        letter.letter_id: replace(
            letter, outcome=str(run.outcome), reason=run.reason or letter.reason, error=run.error or letter.error
        )
        for key, letter in silent.items()
        if (run := known.get(key)) and run.outcome in (Outcome.REJECTED, Outcome.DEAD) and run.error
    }
    return [better.get(letter.letter_id, letter) for letter in found]


def _named(letter: Letter) -> Message:
    """A letter's message, or one that stands for it in the ledger."""
    return letter.message() or Message(task=letter.task, id=letter.run_id, sent_at=letter.first_sent)


def _each(
    wanted: Sequence[Letter], act: Callable[[str, list[Letter]], dict[str, str]], progress: Callable[[int], None]
) -> Done:
    """Receive letters once more, do something with each, and delete those for which it is done.

    Only letters that were looked at are meant: one that came since is of a later attempt, whatever its run.
    """
    done: dict[str, None] = {}
    failed: dict[str, str] = {}
    missed: dict[str, None] = {}
    for task, group in groupby(wanted, key=lambda letter: letter.task):
        left = {letter.letter_id: letter for letter in group}
        known: dict[tuple[str, str], bool] = {}
        with letters.looking(TASKS[task]) as look:
            for page in look.pages():
                mine = [letter for letter in page if letter.letter_id in left]
                firsts = {(letter.id, letter.body): letter for letter in reversed(mine)}
                new = [letter for key, letter in firsts.items() if key not in known]
                why = act(task, new) if new else {}
                known |= {(letter.id, letter.body): letter.id not in why for letter in new}
                good = [letter for letter in mine if known[letter.id, letter.body]]
                look.remove(good)
                done |= dict.fromkeys(letter.id for letter in good)
                failed |= why
                for letter in mine:
                    del left[letter.letter_id]
                if mine:
                    progress(len(done) + len(failed))
                if not left:
                    break
        missed |= dict.fromkeys(letter.id for letter in left.values())
    return Done(list(done), failed, [each for each in missed if each not in done])


def _send(task: str, page: Sequence[Letter]) -> dict[str, str]:
    """Put letters' messages on their task's queue; return why that failed, by id."""
    url, failed = queues.queue_url(TASKS[task].queue), {}
    for some in _in_calls(page):
        entries: Any = [{"Id": str(number), "MessageBody": letter.body} for number, letter in enumerate(some)]
        answer = sqs().send_message_batch(QueueUrl=url, Entries=entries)
        for entry in answer.get("Failed", []):
            failed[some[int(entry["Id"])].id] = entry.get("Message") or entry["Code"]
    return failed


def _in_calls(page: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Letters in as many calls as their size takes."""
    some: list[Letter] = []
    size = 0
    for letter in page:
        length = len(letter.body.encode("utf-8", "replace"))
        if some and (size + length > MOST_BYTES or len(some) == queues.MOST_IN_A_CALL):
            yield some
            some, size = [], 0
        some.append(letter)
        size += length
    if some:
        yield some
