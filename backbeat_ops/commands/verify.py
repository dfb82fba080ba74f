"""`backbeat verify`: every task, end to end, on data of its own."""

from typing import Annotated

import typer
from rich.markup import escape

from backbeat_ops import verify as verifying
from backbeat_ops.terminal import AsJson, console, errors, print_json, the_stack
from backbeat_ops.verify import Verified


def verify(
    context: typer.Context,
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this task; may be repeated.", show_default="all")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Within a minute: do not wait for SES to tell of bounces.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run every task on data of its own, see what it does, and remove that; exit with 0 only if all is as it should be.

    It is safe in prod: nobody else's rows, files and mails are touched. What a verify that was killed has left, the
    next one removes.
    """
    stack = the_stack(context)

    def show(result: Verified) -> None:
        if as_json:
            return
        state = "[green]passed[/]" if result.passed else "[bold red]failed[/]"
        says = result.checked if result.passed else f"{result.why}."
        console.print(f"{state}  {result.task}: {escape(says)} [dim]{result.seconds:.1f} s[/]", soft_wrap=True)
        if result.next:
            console.print(f"        [dim]{escape(result.next)}[/]", soft_wrap=True)

    with errors.status(f"Verifying {stack.name}"):
        results = verifying.verify(stack, task or (), quick=quick, told=show)
    passed = all(result.passed for result in results)
    if as_json:
        print_json({"stack": stack.name, "passed": passed, "checks": results})
    if not passed:
        raise typer.Exit(1)
