"""`backbeat simulate` and `backbeat cost`: a network on paper, its runs and its bill."""

from collections import defaultdict
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from backbeat_ops import cost as costs
from backbeat_ops import simulate as simulations
from backbeat_ops.network import Network
from backbeat_ops.terminal import AsJson, console, fail, print_json, print_table, table, the_stack

SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9}


def number(text: str) -> int:
    """A number of members, as `250000`, `100k` or `100M`."""
    digits, factor = (text[:-1], SUFFIXES[text[-1]]) if text[-1:] in SUFFIXES else (text, 1)
    try:
        found = round(float(digits.replace("_", "").replace(",", "")) * factor)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number, as 250000, 100k or 100M") from None
    if not 1 <= found <= simulations.LARGEST:
        raise typer.BadParameter(f"{text!r} is not between 1 and {simulations.LARGEST:,}")
    return found


def shortly(count: float) -> str:
    """A number of members in few characters: `100 k`, `1.2 M`."""
    for suffix, factor in reversed(SUFFIXES.items()):
        if count >= factor:
            return f"{count / factor:.3g} {suffix}"
    return f"{count:.3g}"


Users = Annotated[int, typer.Option("--users", parser=number, metavar="N", help="Members, as 250000, 100k or 100M.")]
Assume = Annotated[
    list[str] | None,
    typer.Option("--assume", metavar="NAME=NUMBER", help="Another habit of the members, as likes=8."),
]


def network_of(users: int, assume: list[str] | None) -> Network:
    """The network that the options describe."""
    known = {field.name for field in fields(Network)} - {"users"}
    given: dict[str, float] = {}
    for pair in assume or ():
        name, _, value = pair.partition("=")
        if name not in known:
            raise typer.BadParameter(f"there is no habit {name!r}: {', '.join(sorted(known))}", param_hint="--assume")
        try:
            given[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{pair!r} gives no number", param_hint="--assume") from None
        if not 0 <= given[name] < float("inf"):
            raise typer.BadParameter(f"{pair!r} gives no number from 0 up", param_hint="--assume")
    return Network(users, **given)


def simulate(
    users: Users,
    ses_rate: Annotated[float, typer.Option("--ses-rate", min=0.001, help="Mails a second that SES allows.")] = 14,
    capacity: Annotated[str, typer.Option("--capacity", help="The stack's Capacity.")] = "large",
    assume: Assume = None,
    as_json: AsJson = False,
) -> None:
    """Plan each task's run for a number of members, and say which limit it would meet first, and at what size."""
    if capacity not in ("minimal", "standard", "large"):
        fail(f"There is no Capacity {capacity!r}. It is minimal, standard or large.")
    planned = simulations.simulate(network_of(users, assume), ses_rate, capacity)
    if as_json:
        print_json({"users": users, "limits": simulations.LIMITS, "tasks": planned})
        return
    shown = table("task", "rows", "parts", "minutes", "uses most", "ends at", numbers=("rows", "parts", "minutes"))
    for row in simulation_rows(planned):
        shown.add_row(*row)
    print_table(shown)


def simulation_rows(planned: list[simulations.Planned]) -> list[tuple[str, ...]]:
    """What is shown of each task, as docs/scale.md has it."""
    return [
        (
            each.task,
            shortly(each.rows),
            str(each.parts or 1),
            f"{each.minutes:.3g}",
            f"{each.first}, {each.used[each.first]:.0%}",
            f"{shortly(each.at_users)}, {each.first_met}" if each.at_users else "",
        )
        for each in planned
    ]


def cost(
    context: typer.Context,
    users: Users,
    months: Annotated[int, typer.Option("--months", min=1, help="For how long the network has kept data.")] = 12,
    measured: Annotated[
        bool, typer.Option("--measured", help="Take what messages took in the stack's last seven days.")
    ] = False,
    assume: Assume = None,
    as_json: AsJson = False,
) -> None:
    """Say what a number of members costs a month on AWS, task by task, and which line dominates."""
    seconds = None
    if measured:
        the_stack(context)
        seconds = costs.measured(datetime.now(UTC))
    found = costs.cost(network_of(users, assume), months, seconds)
    total = sum(each.total for each in found)
    task, line, share = costs.dominant(found)
    classes: dict[str, float] = defaultdict(float)
    for each in found:
        classes[each.task_class or costs.EVERYTHING] += each.total
    if as_json:
        answer: dict[str, Any] = {
            "users": users,
            "dollars_a_month": total,
            "dominant": {"task": task, "line": line, "share": share},
            "classes": dict(classes),
            "tasks": [asdict(each) | {"dollars_a_month": each.total} for each in found],
        }
        print_json(answer)
        return
    shown = table("task", "class", "dollars a month", "of which most", numbers=("dollars a month",))
    for row in cost_rows(found):
        shown.add_row(*row)
    print_table(shown)
    console.print(f"{total:,.2f} dollars a month; {share:.0%} of it is {task}'s {line}.")
    console.print("By class: " + ", ".join(f"{name} {dollars:,.2f}" for name, dollars in classes.items()) + ".")


def cost_rows(found: list[costs.Cost]) -> list[tuple[str, ...]]:
    """What is shown of each task, as docs/scale.md has it."""
    rows: list[tuple[str, ...]] = []
    for each in found:
        line = max(each.lines, key=lambda name: each.lines[name])
        rows.append((each.task, each.task_class, f"{each.total:,.2f}", f"{line}, {each.lines[line]:,.2f}"))
    return rows
