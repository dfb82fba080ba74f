"""What one member's thousand uploads do to everybody else's, simulated: as S3 notifies, and with groups.

The queue is that of process_media_upload: a fixed number of invocations, each upload 2.2 s of one. SQS's rules are
those of "How Amazon SQS fair queues work" (SQS developer guide): a group is noisy with over a tenth of the processing
time, or of what is at work where that is thirty messages or more of it; others go first while any of theirs wait.
Among equals it takes one at random, as a standard queue does. No clock and no network is read: a run gives the same
figures wherever it is made.
"""

import heapq
import random
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

SECONDS = 2.2
FIRST_LOOK = 0.05
BURST = 1_000
OTHERS = 300
EVERY = 1.0
NOISY = 0.1
AT_WORK = 30


@dataclass(slots=True)
class Queue:
    """Messages that wait, those of noisy groups behind the others'."""

    fair: bool
    waiting: list[tuple[str, float]] = field(default_factory=list)
    at_work: dict[str, int] = field(default_factory=dict)
    worked: dict[str, float] = field(default_factory=dict)

    def noisy(self, group: str) -> bool:
        """Whether a group takes more than its share."""
        if not self.fair or group.startswith("?"):
            return False
        now, all_now = self.at_work.get(group, 0), sum(self.at_work.values())
        time, all_time = self.worked.get(group, 0.0), sum(self.worked.values())
        return (now >= AT_WORK and now > NOISY * all_now) or (time > NOISY * all_time and time > 0)

    def take(self, chance: random.Random) -> tuple[str, float]:
        """The next message that is delivered."""
        groups = {group: self.noisy(group) for group, _ in self.waiting}
        quiet = [at for at, (group, _) in enumerate(self.waiting) if not groups[group]]
        return self.waiting.pop(chance.choice(quiet or range(len(self.waiting))))


def waits(at_once: int, way: str, seed: int = 1) -> list[float]:
    """How long each of the others' uploads waited before its work began.

    Args:
        at_once: Invocations of the function.
        way: `as S3 notifies`, with no groups; `sent on`, where a first look finds out whose it is and sends it on with
            their group; or `groups`, as if S3 gave them.
        seed: What chance goes by.
    """
    chance = random.Random(seed)
    arrivals = sorted([(0.0, "burst")] * BURST + [(at * EVERY, f"other {at}") for at in range(OTHERS)])
    queue, free, now = Queue(fair=way != "as S3 notifies"), at_once, 0.0
    ends: list[tuple[float, int, str, float, bool]] = []
    found: list[float] = []
    number = 0
    while arrivals or queue.waiting or ends:
        while arrivals and arrivals[0][0] <= now:
            time, whose = arrivals.pop(0)
            # Not known yet, a message is a group of its own.
            queue.waiting.append((f"?{whose}" if way == "sent on" else whose, time))
        while free and queue.waiting:
            group, time = queue.take(chance)
            free -= 1
            number += 1
            look = group.startswith("?")
            queue.at_work[group] = queue.at_work.get(group, 0) + 1
            if not look and group.startswith("other"):
                found.append(now - time)
            heapq.heappush(ends, (now + (FIRST_LOOK if look else SECONDS), number, group, time, look))
        now = min([end[0] for end in ends[:1]] + [arrival[0] for arrival in arrivals[:1]], default=now)
        while ends and ends[0][0] <= now:
            _, _, group, time, look = heapq.heappop(ends)
            free += 1
            queue.at_work[group] -= 1
            if look:
                queue.waiting.append((group[1:], time))
            else:
                queue.worked[group] = queue.worked.get(group, 0.0) + SECONDS
    return sorted(found)


def main() -> None:
    """Print what the others wait, each way."""
    table = Table(title=f"{BURST} uploads of one member at once, and one a second of others: seconds that these wait")
    for column in ("at once", "way", "median", "95 %", "longest"):
        table.add_column(column)
    for at_once in (2, 18, 180):
        for way in ("as S3 notifies", "sent on", "groups"):
            waited = waits(at_once, way)
            middle, most = waited[len(waited) // 2], waited[len(waited) * 95 // 100]
            table.add_row(str(at_once), way, f"{middle:.1f}", f"{most:.1f}", f"{waited[-1]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
