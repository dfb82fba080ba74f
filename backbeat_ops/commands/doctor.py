"""`backbeat doctor`: what is wrong with the stack, and what to do next."""

from typing import Annotated

import typer
from rich.markup import escape

from backbeat_ops import doctor as doctors
from backbeat_ops.doctor import State
from backbeat_ops.stack import Stack
from backbeat_ops.terminal import AsJson, console, errors, on_aws, print_hanging, print_json, the_stack

COLOURS = {State.OK: "green", State.WRONG: "bold red", State.UNKNOWN: "yellow"}


def doctor(
    context: typer.Context,
    before: Annotated[
        bool, typer.Option("--before", help="Look only at what a first deployment needs; there is no stack yet.")
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Switch on what is off and the template has on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with the stack or its account, and what to do next; exit with 0 only if all is well."""
    name = on_aws(context)
    stack = Stack(name) if name else the_stack(context)
    with errors.status(f"Looking at {stack.name}"):
        findings = list(doctors.examine(stack, before=before))
        if fix and (fixed := doctors.fix(findings)):
            for finding in fixed:
                errors.print(f"Fixed: {escape(finding.says)}", soft_wrap=True)
            findings = list(doctors.examine(Stack(stack.name), before=before))
    well = all(finding.state is State.OK for finding in findings)
    if as_json:
        print_json({"stack": stack.name, "well": well, "findings": [finding.shown() for finding in findings]})
    else:
        for finding in sorted(findings, key=lambda finding: list(COLOURS)[::-1].index(finding.state)):
            state = f"[{COLOURS[finding.state]}]{finding.state:<7}[/]"
            print_hanging(f"{state}  ", f"{finding.checked}: {escape(finding.says)}")
            if finding.next:
                console.print(f"         [dim]{escape(finding.next)}[/]", soft_wrap=True)
    if not well:
        raise typer.Exit(1)
