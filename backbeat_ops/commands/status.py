"""`backbeat status`: how the stack fares."""

from datetime import datetime

import typer
from rich.table import Table

from backbeat.producer import PRIORITIES
from backbeat_ops import status as stacks
from backbeat_ops.terminal import AsJson, ago, console, outcome, print_json, the_stack


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show each task: what waits, what is dead, how it ran last."""
    found = stacks.status(the_stack(context))
    if as_json:
        print_json(found)
        return
    console.print(f"{found['stack']} at {found['endpoint'] or 'AWS, ' + found['region']}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("class", "task", "waits", "busy", "dead", "last run"):
        table.add_column(column, justify="right" if column in ("waits", "busy", "dead") else "left", no_wrap=True)
    for name, task in sorted(found["tasks"].items(), key=lambda item: -PRIORITIES[item[1]["class"]]):
        last = task["last_run"]
        dead = f"[bold red]{task['dead']}[/]" if task["dead"] else "0"
        shown = f"{outcome(last['outcome'])} {ago(datetime.fromisoformat(last['started']))}" if last else ""
        table.add_row(task["class"], name, str(task["waiting"]), str(task["in_flight"]), dead, shown)
    console.print(table)
