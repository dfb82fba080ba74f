"""Each task's largest run in a network on paper: how it is split, and which limit it would meet first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from backbeat_ops import checkout
from backbeat_ops.network import WORK, Load, Network, loads

LARGEST = 10**12
"""Members up to whom the size is looked for at which a limit is met."""

LIMITS: Mapping[str, tuple[float, str, str]] = {
    "time": (300, "s", "the longest invocation, of the function's time-out (template.yaml)"),
    "memory": (1, "of it", "the largest invocation, of the function's memory (template.yaml)"),
    "hops": (15, "", 'messages in a chain ("Use Lambda recursive loop detection", Lambda developer guide)'),
    "parts": (1_000, "", "parts of one node of the tree (backbeat.sweeps)"),
    "item": (400, "kB", 'the largest row ("Quotas", DynamoDB developer guide)'),
    "writes": (
        8_000,
        "a s",
        'rows listed as changed, a day in eight partitions of 1,000 ("Best practices for partition keys", the same)',
    ),
    "SES": (1, "of it", "the mails' rate, of what the account is allowed"),
    "in flight": (120_000, "", 'messages of a queue at work ("Amazon SQS quotas", SQS developer guide)'),
    "interval": (1, "of it", "the run's time, of the time to the next run"),
}
"""What ends a run, in which unit, and where that is said. Times are those of `Capacity=large`."""

PLANNED_AT_ONCE = 20_000
FITS = 270
"""Seconds of work in an invocation: SECONDS_TO_STOP before its end."""
HELD = 1_000_000
"""People and tags that one invocation unites."""
REPORTED = 200_000
"""Rows of a shard that one part reports, and active users that it tells apart, before it splits itself."""
A_SPLIT = 800
"""Parts that one splits itself into at most, next to those that it sets aside."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One task's run.

    Attributes:
        task: The task.
        task_class: Its class.
        rows: Rows it works on.
        parts: Parts it is made in; 0 where the message does all.
        levels: Levels of the tree of parts.
        minutes: How long the run takes.
        used: How much of each limit it uses, where 1 is all of it.
        first: The limit of which it uses most.
        at_users: Members at whom the first limit is met; None where none is up to a million million.
        first_met: Which limit that is.
    """

    task: str
    task_class: str
    rows: int
    parts: int
    levels: int
    minutes: float
    used: Mapping[str, float]
    first: str
    first_met: str | None = None
    at_users: int | None = None

    @property
    def fits(self) -> bool:
        """Whether every limit is kept."""
        return max(self.used.values()) <= 1


def simulate(network: Network, ses_rate: float, capacity: str = "large") -> list[Planned]:
    """Plan each task's run, and find the size of the network at which its first limit is met."""
    found = []
    for number, planned in enumerate(_plan(network, ses_rate, capacity)):
        low, high = 1, LARGEST
        if _at(network, high, ses_rate, capacity)[number].fits:
            found.append(planned)
            continue
        while high - low > low * 0.005:
            middle = math.isqrt(low * high) if high / low > 4 else (low + high) // 2
            if _at(network, middle, ses_rate, capacity)[number].fits:
                low = middle
            else:
                high = middle
        at = _at(network, high, ses_rate, capacity)[number]
        found.append(replace(planned, at_users=low, first_met=at.first))
    return found


def _at(network: Network, users: int, ses_rate: float, capacity: str) -> list[Planned]:
    return _plan(replace(network, users=users), ses_rate, capacity)


def _plan(network: Network, ses_rate: float, capacity: str) -> list[Planned]:
    rows = {row["Name"]: row for row in checkout.template()["Mappings"]["Tasks"].values()}
    return [
        _planned(load, rows[load.task], network, ses_rate, int(rows[load.task][capacity])) for load in loads(network)
    ]


def _planned(load: Load, row: Mapping[str, str | int], network: Network, ses_rate: float, at_once: int) -> Planned:
    memory, timeout = float(row["Memory"]), float(row["Timeout"])
    worked = {what: number * WORK[what].seconds for what, number in load.rows.items()}
    total = sum(worked.values())
    used = {
        "time": min(total, FITS) / timeout,
        "memory": 120 / memory,
        "hops": 1 / 15,
        "item": 0.01,
        "writes": 0.0,
        "in flight": at_once * load.batch / 120_000,
    }
    parts = levels = 0
    seconds = total
    match load.task:
        case "update_trending_hashtags":
            united = load.rows["rank a person and tag"] + load.rows["unite a person"]
            buckets, parts, levels = 1, 1, 0
            while united / buckets > HELD:  # 256 at a time, until each can be united
                buckets *= 16 if united / buckets / 16 <= HELD / 2 else 256
                levels += 1
            # An hour of one shard is what a part counts at least, at the busiest three times the mean.
            in_an_hour = united / 168 / 8 * 3
            longest = max(united / buckets * WORK["rank a person and tag"].seconds, in_an_hour / 3 * 0.0001)
            used["time"] = (longest if levels else total) / timeout
            used["memory"] = (120 + max(min(HELD, united / buckets) * 400, in_an_hour * 200) / 1e6) / memory
            used["item"] = max(min(5_000, united) * 22, buckets * 16) / 400_000
            if levels:
                parts, used["parts"] = 3 * 8 + 2 * buckets + 2, min(A_SPLIT, buckets) / 1_000
                used["hops"] = (8 + levels) / 15
                seconds = total / min(at_once, buckets) + 30
            used["interval"] = seconds / 3600
        case "generate_content_analytics":  # a part for each shard, and those into which it splits itself
            made = 4 * network.posts_a_day, 4 * network.there * network.comments
            seen, days = network.users * network.monthly / 8, 4
            parts, levels = 8, 1
            if max(sum(made) / 8, seen) > REPORTED:
                fit = FITS / WORK["count a row of a report"].seconds
                in_one = max(made) / days / 8  # of one kind and day
                levels += 1 + max(_levels(in_one, fit), math.ceil(math.log(max(1, seen / REPORTED), 16)))
                parts += 8 * (4 * days + 1 + math.ceil(seen / REPORTED * 2)) + math.ceil(total / FITS)
                used["parts"] = min(A_SPLIT, max(4 * days + 1, in_one / fit)) / 1_000
            used["time"] = min(total / 8, FITS) / timeout
            used["memory"] = (120 + min(seen, REPORTED) * 160 / 1e6) / memory
            used["hops"] = (1 + levels) / 15
            seconds = total / min(parts, at_once) + 5 * levels
            used["interval"] = seconds / 86_400
        case "send_content_digest_email":
            rate = 0.8 * ses_rate
            mails = load.rows["send_content_digest_email"]
            share = rate / at_once
            size = max(1, min(500, 5 * int(share * 240)))
            parts = math.ceil(mails / size)
            per_list = math.ceil(500 / size)
            used["time"] = (240 + 30) / timeout
            used["memory"] = 160 / memory
            week = (timedelta(days=7) - timedelta(hours=9)).total_seconds()
            seconds = mails / rate
            used |= {"SES": seconds / week, "interval": seconds / week, "item": 0.2}
            levels = 1
            hops = 2.0
            if mails > PLANNED_AT_ONCE or load.rows["choose a post"] > PLANNED_AT_ONCE:
                listing = max(1, math.ceil(load.rows["list a user"] / 8 * WORK["list a user"].seconds / FITS))
                below = _levels(load.rows["choose a post"] / 64, FITS / WORK["choose a post"].seconds)
                hops = 2 + 1 + max(listing - 1, below) + 1 + 2
                levels = 3
                at_most = 1_000 // per_list
                groups = 8 * math.ceil(mails / 8 / 500 / at_most)
                used["parts"] = max(groups, 72, at_most * per_list if groups > 8 else 0) / 1_000
                used["writes"] = 20 / 500 / WORK["list a user"].seconds / 1_000  # of lists, by one part
                used["in flight"] = at_once / 120_000
            else:
                used["parts"] = parts / 1_000
            used["hops"] = (hops + 4 + 1) / 15
            if share * 120 < 1:
                used["SES"] = max(used["SES"], 1 / (share * 120))
        case _ if load.partitions:
            slowest = max(worked, key=lambda what: WORK[what].seconds)
            in_one = sum(load.rows.values()) / load.partitions
            fit = FITS / WORK[slowest].seconds
            levels = 1 + _levels(in_one, fit)
            parts = load.partitions if levels == 1 else math.ceil(sum(load.rows.values()) / fit) + load.partitions
            seconds = total / min(parts, at_once) + 5 * levels
            day = 86_400 * (7 if load.task == "cleanup_old_posts" else 1)
            used |= {"parts": min(A_SPLIT, max(load.partitions, in_one / fit)) / 1_000, "interval": seconds / day}
            used["hops"] = (1 + levels) * (2 if load.task == "cleanup_old_posts" else 1) / 15
            used["time"] = min(in_one * WORK[slowest].seconds, FITS) / timeout
            used["writes"] = min(1, load.rows[slowest] / 8_000 / 60) * at_once / WORK[slowest].seconds / 8_000
        case _:  # a message at a time
            a_second = load.runs / 30.4 / 86_400 * 3  # at the busiest hour, three times the mean
            seconds = WORK[load.task].seconds
            used["interval"] = a_second * seconds / at_once
            used["time"] = load.batch * seconds / timeout
            if load.task in ("send_notification", "process_media_upload"):
                used["writes"] = a_second / 8_000
            if load.task == "send_welcome_email":
                used["SES"] = a_second / (0.2 * ses_rate)
            if load.task == "process_media_upload":
                used["memory"] = 0.85  # what pictures of MaxMegapixels take
    first = max(used, key=lambda limit: used[limit])
    count = load.rows if load.partitions or "rank a person and tag" in load.rows else {"": load.runs / 30.4}
    return Planned(load.task, str(row["Class"]), round(sum(count.values())), parts, levels, seconds / 60, used, first)


def _levels(rows: float, fit: float) -> int:
    """How often parts split themselves until each fits an invocation, the part included that looks ahead only."""
    if rows <= fit:
        return 0
    return 1 + math.ceil(max(0.0, math.log(rows / fit / A_SPLIT, A_SPLIT)))
