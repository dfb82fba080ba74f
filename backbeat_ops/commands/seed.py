"""`backbeat seed`: a network to try things on."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress

from backbeat_ops.seed import Network
from backbeat_ops.terminal import AsJson, At, Yes, answer, counted, errors, on_aws, the_stack


def seed(
    context: typer.Context,
    users: Annotated[int, typer.Option(min=2, max=1_000_000, help="How many people.")] = 1_000,
    posts: Annotated[int, typer.Option(min=0, max=10_000_000, help="How many posts of theirs.")] = 5_000,
    random_seed: Annotated[int, typer.Option(help="Another seed adds another network beside the first.")] = 1,
    at: At = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Write a believable network: who follows whom, posts, likes, comments, activity, tokens.

    It asks first where it would write to a stack on AWS.
    """
    stack = the_stack(context)
    if on_aws(context) and not yes:
        typer.confirm(f"Write {users:,} people and {posts:,} posts to {stack.name} on AWS?", abort=True)
    with errors.status("Making up the network"):
        network = Network(users, posts, random_seed=random_seed, until=at or datetime.now(UTC))
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=errors) as progress:
        bars = {kind: progress.add_task(kind, total=rows) for kind, rows in network.rows.items()}
        network.write(lambda kind, rows: progress.advance(bars[kind], rows))
    answer({"written": network.rows}, f"Wrote {counted(sum(network.rows.values()), 'row')}.", as_json)
