"""`backbeat status`: how the stack fares."""

from datetime import datetime

import typer
from rich.markup import escape

from backbeat.producer import PRIORITIES
from backbeat_ops import status as stacks
from backbeat_ops.terminal import AsJson, ago, console, outcome, print_json, print_table, table, the_stack


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show each task: what waits, what is dead, how it ran last."""
    found = stacks.status(the_stack(context))
    if as_json:
        print_json(found)
        return
    console.print(f"{found['stack']} at {found['endpoint'] or 'AWS, ' + found['region']}", soft_wrap=True)
    rows = table("class", "task", "waits", "busy", "dead", "last run", numbers=("waits", "busy", "dead"))
    for name, task in sorted(found["tasks"].items(), key=lambda item: -PRIORITIES[item[1]["class"]]):
        last = task["last_run"]
        dead = f"[bold red]{task['dead']}[/]" if task["dead"] else "0"
        shown = f"{outcome(last['outcome'])} {ago(datetime.fromisoformat(last['started']))}" if last else ""
        rows.add_row(task["class"], name, str(task["waiting"]), str(task["in_flight"]), dead, shown)
    print_table(rows)
    for name, task in found["tasks"].items():
        if task["paused"]:
            start, end = (datetime.fromisoformat(task["paused"][key]) for key in ("since", "until"))
            console.print(
                f"[yellow]{name} is paused[/] since {start:%Y-%m-%d %H:%M} until {end:%Y-%m-%d %H:%M} UTC; "
                f"`backbeat resume {name}` ends it sooner",
                soft_wrap=True,
            )
        for work in task["at_work"]:
            part = "" if work["part"] is None else f", part {work['part']}"
            since = ago(datetime.fromisoformat(work["since"])).removesuffix(" ago")
            silent = " [yellow]without a sign of life; it comes back by itself[/]" if work["silent"] else ""
            console.print(f"{name} is at work on {escape(work['run_id'])}{part} for {since}{silent}", soft_wrap=True)
