"""A day's report: its figures, and the files that people and programs read them from.

Everything here is pure: `DayReport` in, text out. The page opens offline; it has no script, and its charts are SVG.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import cache
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from backbeat.text import INVISIBLE

LONGEST_TEXT = 140
"""Characters of a post's text that a report shows."""


@dataclass(frozen=True, slots=True)
class TopPost:
    """One of a day's most liked posts.

    Attributes:
        text: Its text, cut off after 140 characters.
        likes: Its likes when the report was made, as all its counts.
    """

    post_id: str
    author_id: str
    text: str
    likes: int
    comments: int


@dataclass(frozen=True, slots=True)
class DayReport:
    """What happened on one UTC day.

    Attributes:
        day: The day.
        posts_created: Posts made on the day that still exist; likewise comments and users.
        posts_total: Posts made up to the end of the day that still exist; likewise comments and users.
        active_day: Users active on the day.
        active_week: Users active on at least one of the seven days that end with it.
        active_month: Users active on at least one of the thirty days that end with it.
        hours: Posts and comments made in each of the 24 hours.
        top_posts: The public posts of the day with the most likes, of equal likes those with the most comments.
        media_processed: Uploads that were turned into renditions.
        emails_sent: Emails that SES took.
    """

    day: date
    posts_created: int = 0
    comments_created: int = 0
    users_created: int = 0
    posts_total: int = 0
    comments_total: int = 0
    users_total: int = 0
    active_day: int = 0
    active_week: int = 0
    active_month: int = 0
    hours: Sequence[int] = (0,) * 24
    top_posts: Sequence[TopPost] = field(default_factory=list)
    media_processed: int = 0
    emails_sent: int = 0

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {**asdict(self), "day": self.day.isoformat(), "hours": list(self.hours)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DayReport":
        """The report that `as_json` was made of."""
        day = date.fromisoformat(values["day"])
        return cls(**{**values, "day": day, "top_posts": [TopPost(**post) for post in values["top_posts"]]})

    @property
    def busiest_hours(self) -> list[int]:
        """The up to three hours in which most was made, the busiest first, of equals the earlier."""
        ranked = sorted(range(24), key=lambda hour: (-self.hours[hour], hour))
        return [hour for hour in ranked[:3] if self.hours[hour]]


FIGURES = {
    "posts_created": "Posts",
    "comments_created": "Comments",
    "users_created": "New users",
    "posts_total": "Posts in all",
    "comments_total": "Comments in all",
    "users_total": "Users in all",
    "active_day": "Active users",
    "active_week": "Active users of 7 days",
    "active_month": "Active users of 30 days",
    "media_processed": "Media processed",
    "emails_sent": "Emails sent",
}
"""A report's plain numbers, and what they are called."""


def to_json(report: DayReport) -> str:
    """The report for programs."""
    return json.dumps({**report.as_json(), "busiest_hours": report.busiest_hours}, ensure_ascii=False, indent=2) + "\n"


def to_csv(report: DayReport) -> str:
    """The report for spreadsheets: one figure a row, so that the files of many days can be put one under another.

    It begins with a byte order mark, as Excel takes a file without one for the machine's old code page. A text that a
    spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection").
    """
    rows: list[tuple[str, str, int]] = [(name, "", getattr(report, name)) for name in FIGURES]
    rows += [("made_in_hour", f"{hour:02}:00", made) for hour, made in enumerate(report.hours)]
    for post in report.top_posts:
        rows += [("top_post_likes", post.text, post.likes), ("top_post_comments", post.text, post.comments)]
    out = io.StringIO()
    out.write("\N{BYTE ORDER MARK}")
    writer = csv.writer(out)
    writer.writerow(("day", "figure", "of", "value"))
    writer.writerows((report.day.isoformat(), name, _harmless(of), value) for name, of, value in rows)
    return out.getvalue()


def _harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, whatever it begins with that does not show."""
    visible = (sign for sign in INVISIBLE.sub("", text) if not sign.isspace() and unicodedata.category(sign)[0] != "C")
    begins = unicodedata.normalize("NFKC", next(visible, ""))[:1]
    return f"'{text}" if begins in _FORMULA or text.startswith(("\t", "\r", "\n")) else text


_FORMULA = ("=", "+", "-", "@", "\N{MINUS SIGN}")
"""Signs that a formula begins with; of any width, as spreadsheets may take them for the same."""


def to_html(report: DayReport, before: Iterable[DayReport]) -> str:
    """The report for people: one page that needs nothing else.

    Args:
        report: The day the page is about.
        before: Earlier days' reports; those of the 29 days before are shown beside it.
    """
    known = {earlier.day: earlier for earlier in before} | {report.day: report}
    days = [report.day - timedelta(days=ago) for ago in range(29, -1, -1)]
    history = [known.get(day) for day in days]
    page: str = _page().render(
        report=report,
        summary=_summary(report, known.get(report.day - timedelta(days=7))),
        tiles=[_tile(name, report, history, known) for name in _TILES],
        active_chart=_active_chart(days, history),
        made_chart=_made_chart(days, history),
        hours_chart=_hours_chart(report),
        most_likes=max((post.likes for post in report.top_posts), default=0),
        last_days=[day for day in reversed(history[-7:]) if day],
    )
    return page


_TILES = ("active_day", "posts_created", "comments_created", "users_created")


@cache
def _page() -> Any:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = "{:,}".format
    environment.filters["dayname"] = lambda day: f"{day:%A} {day.day} {day:%B %Y}"
    environment.filters["shortday"] = lambda day: f"{day:%a} {day.day} {day:%b}"
    return environment.get_template("report.html")


def _change(now: int, then: int) -> str:
    """A change in words: `+12%`, `-3%`, `no change`."""
    if now == then:
        return "no change"
    if not then:
        return "new"
    percent = (now - then) / then * 100
    return f"{percent:+,.0f}%" if abs(percent) >= 1 else ("a little more" if now > then else "a little less")


def _summary(report: DayReport, week_ago: DayReport | None) -> str:
    """The day in one or two sentences."""
    made = report.posts_created + report.comments_created
    if not made:
        return "Nothing was posted on this day."
    text = f"{report.active_day:,} people were here, and made {made:,} posts and comments"
    if week_ago and week_ago.active_day:
        more = report.active_day - week_ago.active_day
        share = abs(more) / week_ago.active_day
        text += (
            "; about as many people as a week before"
            if share < 0.02
            else f"; {share:.0%} {'more' if more > 0 else 'fewer'} people than a week before"
        )
    busiest = report.busiest_hours[0]
    return f"{text}. The busiest hour began at {busiest:02}:00 UTC."


def _tile(
    name: str, report: DayReport, history: Sequence[DayReport | None], known: Mapping[date, DayReport]
) -> dict[str, Any]:
    """A figure, how it changed within a week, and its month as a small line."""
    week_ago = known.get(report.day - timedelta(days=7))
    value = getattr(report, name)
    then = getattr(week_ago, name) if week_ago else None
    return {
        "name": FIGURES[name],
        "value": value,
        "change": None if then is None else _change(value, then),
        "way": "" if then is None or value == then else "up" if value > then else "down",
        "line": _sparkline([getattr(day, name) if day else None for day in history]),
    }


# ----------------------------------------------------------------------------------------------------------------------
# Charts: SVG whose colours are the page's, so that they follow light and dark
# ----------------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 210, 40, 6, 10, 24


def _scale(highest: int) -> tuple[int, int]:
    """A round top of an axis, not below `highest`, and the distance between its lines."""
    if highest <= 4:
        return 4, 1
    rough = highest / 4
    power = 10 ** floor(log10(rough))
    step = next(
        int(nice * power) or 1 for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough and nice * power % 1 == 0
    )
    return ceil(highest / step) * step, step


def _short(value: int) -> str:
    """An axis's number: `950`, `1.2k`, `3M`."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return str(value)


class _Chart:
    """An SVG with a scale on the left and room for columns."""

    def __init__(self, highest: int, columns: int, label: str) -> None:
        self.top, step = _scale(highest)
        self.columns = columns
        self.parts = [
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        ]
        for value in range(0, self.top + 1, step):
            y = self.y(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.parts.append(
                f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>'
            )

    def x(self, column: float) -> float:
        """The left edge of a column."""
        return LEFT + column * (WIDTH - LEFT - RIGHT) / self.columns

    def y(self, value: float) -> float:
        """The height of a value."""
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)

    def below(self, column: int, text: str) -> None:
        """Label a column."""
        middle = self.x(column + 0.5)
        anchor = "end" if middle > WIDTH - RIGHT - 20 else "middle"
        x = WIDTH - RIGHT if anchor == "end" else middle
        self.parts.append(
            f'<text class="axis" x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def column(self, column: int, low: int, high: int, style: str, title: str, *, cap: bool = True) -> None:
        """Draw a bar from one value to another, its top rounded where it is the upper one."""
        if high <= low:
            return
        left, right = self.x(column + 0.14), self.x(column + 0.86)
        top, bottom = self.y(high), self.y(low)
        bend = min(3.0, right - left, bottom - top) if cap else 0.0
        self.parts.append(
            f'<path class="{style}" d="M{left:.1f} {bottom:.1f}V{top + bend:.1f}q0 {-bend:.1f} {bend:.1f} {-bend:.1f}'
            f'H{right - bend:.1f}q{bend:.1f} 0 {bend:.1f} {bend:.1f}V{bottom:.1f}z">'
            f"<title>{escape(title)}</title></path>"
        )

    def line(self, values: Sequence[int | None], style: str, titles: Sequence[str]) -> None:
        """Draw a line through the values that are known; a gap where one is not."""
        pen = "M"
        path = []
        for column, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{self.x(column + 0.5):.1f} {self.y(value):.1f}")
            pen = "L"
        self.parts.append(f'<path class="line {style}" d="{"".join(path)}"/>')
        for column, value in enumerate(values):
            if value is not None:
                last = column == len(values) - 1
                self.parts.append(
                    f'<circle class="dot {style}{" last" if last else ""}" cx="{self.x(column + 0.5):.1f}" '
                    f'cy="{self.y(value):.1f}" r="{4 if last else 6}"><title>{escape(titles[column])}</title></circle>'
                )

    def svg(self) -> Markup:
        return Markup("".join([*self.parts, "</svg>"]))  # noqa: S704 - all text in it is escaped


def _label_days(chart: _Chart, days: Sequence[date]) -> None:
    for column, day in enumerate(days):
        if (len(days) - 1 - column) % 7 == 0:
            chart.below(column, f"{day.day} {day:%b}")


def _active_chart(days: Sequence[date], history: Sequence[DayReport | None]) -> Markup:
    names = ("active_month", "active_week", "active_day")
    highest = max((getattr(day, name) for day in history if day for name in names), default=0)
    chart = _Chart(highest, len(days), "Active users of the last 30 days")
    _label_days(chart, days)
    for name in names:
        values = [getattr(day, name) if day else None for day in history]
        called = FIGURES[name].lower()
        titles = [f"{at.day} {at:%b}: {value or 0:,} {called}" for at, value in zip(days, values, strict=True)]
        chart.line(values, name, titles)
    return chart.svg()


def _made_chart(days: Sequence[date], history: Sequence[DayReport | None]) -> Markup:
    highest = max((day.posts_created + day.comments_created for day in history if day), default=0)
    chart = _Chart(highest, len(days), "Posts and comments of the last 30 days")
    _label_days(chart, days)
    for column, day in enumerate(history):
        if day:
            title = f"{day.day.day} {day.day:%b}: {day.posts_created:,} posts, {day.comments_created:,} comments"
            made = day.posts_created + day.comments_created
            chart.column(column, 0, day.posts_created, "posts", title, cap=not day.comments_created)
            chart.column(column, day.posts_created, made, "comments", title)
    return chart.svg()


def _hours_chart(report: DayReport) -> Markup:
    chart = _Chart(max(report.hours), 24, "Posts and comments by hour of the day")
    for hour, made in enumerate(report.hours):
        style = "posts" if hour in report.busiest_hours else "quiet"
        chart.column(hour, 0, made, style, f"{hour:02}:00 to {hour + 1:02}:00 UTC: {made:,}")
        if hour % 3 == 0:
            chart.below(hour, f"{hour:02}")
    return chart.svg()


def _sparkline(values: Sequence[int | None]) -> Markup:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    spread = (high - low) or 1
    points = [
        f"{column * 172 / (len(values) - 1) + 2:.1f},{31 - (value - low) / spread * 28:.1f}"
        for column, value in enumerate(values)
        if value is not None
    ]
    end = points[-1].split(",")
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="spark" viewBox="0 0 180 34" aria-hidden="true"><polyline points="{" ".join(points)}"/>'
        f'<circle cx="{end[0]}" cy="{end[1]}" r="3"/></svg>'
    )
