"""The console's pictures, as SVG. Colours are classes, so that the page's scheme decides them."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

OUTCOMES = {
    "succeeded": "good",
    "skipped": "quiet",
    "queued": "quiet",
    "running": "busy",
    "in parts": "busy",
    "retrying": "warn",
    "incomplete": "bad",
    "rejected": "bad",
    "dead": "bad",
}
"""What colour an outcome has."""


def kind(outcome: str | None) -> str:
    """The colour of an outcome, as a class."""
    return OUTCOMES.get(str(outcome), "quiet")


def spark(values: Sequence[float], width: int = 120, height: int = 28) -> Markup:
    """A line of how something went, the last one last; nothing where there are not two values."""
    if len(values) < 2:
        return Markup("")
    top = max(values) or 1
    step = (width - 6) / (len(values) - 1)
    points = [(3 + number * step, height - 3 - (height - 6) * value / top) for number, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return Markup(
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<polygon points="3,{height - 1} {line} {x:.1f},{height - 1}"/><polyline points="{line}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/></svg>'
    )


def ticks(outcomes: Sequence[tuple[str, float]], width: int = 216, height: int = 32) -> Markup:
    """The last runs side by side, oldest first: colour is how it ended, height how long it took."""
    parts = []
    for number, (outcome, milliseconds) in enumerate(outcomes[-24:]):
        tall = 6 + (height - 6) * min(1.0, math.log10(max(milliseconds, 1)) / 5)
        x = width - 9 * (len(outcomes[-24:]) - number)
        parts.append(
            f'<rect class="{kind(outcome)}" x="{x}" y="{height - tall:.1f}" width="6" height="{tall:.1f}" rx="2"/>'
        )
    return Markup(
        f'<svg class="ticks" viewBox="0 0 {width} {height}" preserveAspectRatio="xMaxYMid meet" aria-hidden="true">'
        f'<line x1="0" x2="{width}" y1="{height - 0.5}" y2="{height - 0.5}"/>{"".join(parts)}</svg>'
    )


def stream(waiting: int, busy: int, most: int) -> Markup:
    """A class's queue as a stream: how much waits fills the basin, what runs are the lights, and it flows if any do."""
    full = 0.0 if not waiting else 6 + 94 * math.log1p(waiting) / math.log1p(max(most, 100))
    lights = "".join(
        f'<circle class="light{" on" if number < busy else ""}" cx="{232 + 14 * number}" cy="16" r="4.5"/>'
        for number in range(5)
    )
    return Markup(
        '<svg class="stream" viewBox="0 0 300 32" preserveAspectRatio="xMidYMid meet" aria-hidden="true">'
        '<rect class="basin" x="0.5" y="4.5" width="120" height="23" rx="6"/>'
        f'<rect class="water" x="2.5" y="6.5" width="{1.16 * full:.1f}" height="19" rx="4.5"/>'
        f'<path class="pipe{" flows" if busy else ""}" d="M121 16H218"/>{lights}</svg>'
    )


def timeline(runs: Sequence[dict[str, Any]], rows: Sequence[str], start: datetime, end: datetime) -> Markup:
    """Runs over time, a row for each class; each is a link to its page."""
    span = max((end - start).total_seconds(), 1)
    height, left, width = 26, 118, 960
    parts = []
    for number, name in enumerate(rows):
        y = number * height
        parts.append(f'<line class="rule" x1="{left}" x2="{width}" y1="{y + height}" y2="{y + height}"/>')
        parts.append(f'<text x="0" y="{y + 18}">{escape(name)}</text>')
    for share in (0.25, 0.5, 0.75, 1.0):
        x = left + (width - left) * share
        at = start + (end - start) * share
        parts.append(f'<line class="rule" x1="{x:.0f}" x2="{x:.0f}" y1="0" y2="{len(rows) * height}"/>')
        parts.append(f'<text class="end" x="{x:.0f}" y="{len(rows) * height + 16}">{at:%H:%M}</text>')
    for run in runs:
        started = datetime.fromisoformat(run["started"])
        if not start <= started <= end or run["class"] not in rows:
            continue
        x = left + (width - left) * (started - start).total_seconds() / span
        wide = max(5.0, (width - left) * (run["duration_ms"] or 0) / 1_000 / span)
        x = min(x, width - wide)
        y = rows.index(run["class"]) * height + 7
        said = f"{run['task']}, {run['outcome']}, {started:%H:%M:%S}"
        parts.append(
            f'<a href="/runs/one?id={escape(_quoted(run["run_id"]))}" aria-label="{escape(said)}" tabindex="-1">'
            f'<rect class="{kind(run["outcome"])}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="13" rx="2.5">'
            f"<title>{escape(said)}</title></rect></a>"
        )
    return Markup(
        f'<svg class="timeline" viewBox="0 0 {width} {len(rows) * height + 22}" role="group" '
        f'aria-label="The last runs over time">{"".join(parts)}</svg>'
    )


def bars(values: Sequence[tuple[str, float]], width: int = 640, height: int = 150) -> Markup:
    """Days side by side, with what each is called and came to."""
    if not values:
        return Markup("")
    top = max(value for _, value in values) or 1
    step = width / len(values)
    parts = []
    for number, (name, value) in enumerate(values):
        tall = (height - 26) * value / top
        x = number * step
        parts.append(
            f'<rect class="bar" x="{x + step * 0.14:.1f}" y="{height - 20 - tall:.1f}" width="{step * 0.72:.1f}" '
            f'height="{max(tall, 1):.1f}" rx="2"><title>{escape(name)}: {value:,.0f}</title></rect>'
        )
        if number % max(1, math.ceil(len(values) / 8)) == 0:
            parts.append(f'<text x="{x + step * 0.14:.1f}" y="{height - 5}">{escape(name[5:])}</text>')
    parts.append(f'<line class="rule" x1="0" x2="{width}" y1="{height - 20}" y2="{height - 20}"/>')
    return Markup(f'<svg class="chart" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts)}</svg>')


def lines(series: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str], width: int = 640) -> Markup:
    """Several figures over time, each a line with a class of its own, `one`, `two` and `three`.

    Args:
        series: The lines' classes and values; a line has a gap where a value is None.
        names: The day of each value; a day is written below its first one.
        width: How wide it is drawn.
    """
    height = 150
    if len(names) < 2:
        return Markup("")
    top = max((value for _, values in series for value in values if value is not None), default=1) or 1
    step = (width - 8) / (len(names) - 1)
    parts = [f'<line class="rule" x1="0" x2="{width}" y1="{height - 20}" y2="{height - 20}"/>']
    for colour, values in series:
        for stretch in _stretches(values):
            points = [(4 + number * step, height - 22 - (height - 46) * value / top) for number, value in stretch]
            x, y = points[0]
            if len(points) == 1:
                parts.append(f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
            else:
                drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
                parts.append(f'<polyline class="{colour}" points="{drawn}"/>')
    parts.append(f'<text x="0" y="14">{top:,.0f}</text>')
    days = [number for number, name in enumerate(names) if not number or name != names[number - 1]]
    if len(days) > 1 and 1 < days[1] < width / 8 / step:
        days.pop(0)  # the end of a day, whose date would leave no place for the next one's
    written = -math.inf
    for number in days:
        x = 4 + number * step
        if x - written >= width / 8:
            written = x
            end = ' class="end"' if x > width * 7 / 8 else ""
            parts.append(f'<text{end} x="{x:.1f}" y="{height - 4}">{escape(names[number][5:])}</text>')
    return Markup(f'<svg class="chart" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts)}</svg>')


def _stretches(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """What is between the gaps of a line: each value with its place."""
    found: list[list[tuple[int, float]]] = [[]]
    for number, value in enumerate(values):
        if value is not None:
            found[-1].append((number, value))
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def placeholder(blurhash: str | None, width: int, height: int) -> Markup:
    """What a reader sees until a picture is there: its BlurHash, decoded (woltapp/blurhash, Algorithm.md)."""
    if not blurhash:
        return Markup("")
    across, down, colours = _decoded(blurhash)
    columns, rows = 16, max(4, min(32, round(16 * height / max(width, 1))))
    cells = []
    for row in range(rows):
        for column in range(columns):
            red, green, blue = (
                _to_srgb(
                    sum(
                        colours[j * across + i][channel]
                        * math.cos(math.pi * (column + 0.5) / columns * i)
                        * math.cos(math.pi * (row + 0.5) / rows * j)
                        for j in range(down)
                        for i in range(across)
                    )
                )
                for channel in range(3)
            )
            cells.append(
                f'<rect x="{column}" y="{row}" width="1.05" height="1.05" fill="#{red:02x}{green:02x}{blue:02x}"/>'
            )
    return Markup(
        f'<svg class="placeholder" viewBox="0 0 {columns} {rows}" role="img" aria-label="The placeholder">'
        f"{''.join(cells)}</svg>"
    )


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"


def _number(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 83 + _DIGITS.index(digit)
    return value


def _decoded(text: str) -> tuple[int, int, list[tuple[float, float, float]]]:
    shape = _number(text[0])
    across, down = shape % 9 + 1, shape // 9 + 1
    most = (_number(text[1]) + 1) / 166
    average = _number(text[2:6])
    colours = [(_to_linear(average >> 16), _to_linear(average >> 8 & 255), _to_linear(average & 255))]
    for place in range(1, across * down):
        value = _number(text[4 + place * 2 : 6 + place * 2])
        red, green, blue = (
            math.copysign(((part - 9) / 9) ** 2, part - 9) * most
            for part in (value // 361, value // 19 % 19, value % 19)
        )
        colours.append((red, green, blue))
    return across, down, colours


def _to_linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def _to_srgb(value: float) -> int:
    share = min(1.0, max(0.0, value))
    shown = share * 12.92 if share <= 0.0031308 else 1.055 * share ** (1 / 2.4) - 0.055
    return round(shown * 255)


def _quoted(text: str) -> str:
    return quote(text, safe="")
