"""A network on paper: its page shows what the commands say, and a calculation by hand comes to the same."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backbeat_ops import cli, simulate
from backbeat_ops.commands.scale import cost_rows, number, shortly, simulation_rows
from backbeat_ops.cost import EVERYTHING, cost, dominant
from backbeat_ops.network import Network
from backbeat_ops.simulate import LIMITS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scale.md").read_text("utf-8")
SIZES = ("100k", "1M", "10M", "100M")


def section(title: str) -> str:
    """What docs/scale.md has under a heading."""
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ")[0]


def table(text: str) -> list[list[str]]:
    """The rows of the table in a text, without its head."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def asked(*words: str) -> Any:
    answer = CliRunner().invoke(cli.app, [*words, "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


@pytest.mark.parametrize("size", SIZES)
def test_the_page_shows_what_is_simulated(size: str) -> None:
    planned = simulate.simulate(Network(number(size)), 14)
    assert table(section(f"{shortly(number(size))} members")) == [list(row) for row in simulation_rows(planned)]


def test_the_page_shows_what_it_costs() -> None:
    found = cost(Network(10**6))
    assert table(section("What 1 M members cost")) == [list(row) for row in cost_rows(found)]
    task, line, share = dominant(found)
    assert f"{share:.0%} of it is {task}'s {line}" in PAGE.replace("\n", " ")


def test_a_calculation_by_hand_comes_to_the_same() -> None:
    """Within a tenth, line by line: the page multiplies figures that it states, this takes only their products."""
    by_task = {each.task: each for each in cost(Network(10**6))}
    rows = table(section("The same by hand"))
    assert len(rows) >= 10
    total = 0.0
    for task, line, sum_, dollars in rows:
        by_hand = 1.0
        for factor in re.findall(r"[\d.]+", sum_.replace(",", "")):
            by_hand *= float(factor)
        assert by_hand == pytest.approx(float(dollars.replace(",", "")), rel=0.01), (task, line)
        assert by_task[task].lines[line] == pytest.approx(by_hand, rel=0.1), (task, line)
        total += by_hand
    assert total == pytest.approx(sum(each.total for each in by_task.values()), rel=0.1)


def test_every_limit_is_looked_at_and_named_with_its_source() -> None:
    used = {limit for planned in simulate.simulate(Network(10**8), 14) for limit in planned.used}
    assert used == set(LIMITS)
    assert all(source for _, _, source in LIMITS.values())


def test_what_is_split_ends_by_no_limit_of_one_invocation() -> None:
    """Only a rate or the next run can be too near, however many members there are; the trends end far beyond."""
    for planned in simulate.simulate(Network(10**6), 14):
        if planned.task in (
            "update_user_statistics",
            "generate_content_analytics",
            "update_post_engagement_scores",
            "cleanup_expired_tokens",
        ):
            assert planned.first_met == "interval"
        if planned.task == "update_trending_hashtags":
            assert planned.at_users and planned.at_users > 10**9


def test_more_members_are_never_less_work() -> None:
    network = Network(10**4)
    before = simulate.simulate(network, 14)
    for users in (10**5, 10**6, 10**7, 10**8):
        after = simulate.simulate(replace(network, users=users), 14)
        assert all(a.rows >= b.rows and a.levels >= b.levels for a, b in zip(after, before, strict=True))
        assert [a.at_users for a in after] == pytest.approx([b.at_users for b in before], rel=0.02)
        before = after


def test_a_limit_is_met_at_the_size_that_is_told() -> None:
    for number_of, planned in enumerate(simulate.simulate(Network(10**6), 14)):
        assert planned.at_users
        assert simulate.simulate(Network(planned.at_users), 14)[number_of].fits
        assert not simulate.simulate(Network(round(planned.at_users * 1.02)), 14)[number_of].fits


def test_the_commands_answer_in_json() -> None:
    plans = asked("simulate", "--users", "250_000", "--assume", "likes=0", "--capacity", "standard")
    assert {task["task"] for task in plans["tasks"]} == {each.task for each in cost(Network(1))} - {EVERYTHING}
    answer = asked("cost", "--users", "1M")
    assert answer["dollars_a_month"] == pytest.approx(sum(task["dollars_a_month"] for task in answer["tasks"]))
    assert sum(answer["classes"].values()) == pytest.approx(answer["dollars_a_month"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--users", "many"], "'many' is no number"),
        (["--users", "0"], "is not between 1 and"),
        (["--users", "1M", "--assume", "sleep=8"], "there is no habit 'sleep'"),
        (["--users", "1M", "--assume", "likes=-1"], "gives no number from 0 up"),
        (["--users", "1M", "--assume", "likes"], "gives no number"),
    ],
)
def test_what_is_no_network_is_refused(words: list[str], says: str) -> None:
    answer = CliRunner().invoke(cli.app, ["cost", *words])
    assert answer.exit_code == 2
    assert says in " ".join(re.sub("[│╭╮╰╯─]", "", answer.output).split())


def test_what_the_stack_measured_replaces_the_model() -> None:
    network = Network(10**6)
    modelled, measured = cost(network), cost(network, seconds={"process_media_upload": 4.4})
    (media, *others), (slower, *same) = modelled, measured
    assert slower.measured
    assert slower.lines["Lambda"] == pytest.approx(2 * media.lines["Lambda"], rel=0.01)
    assert others == same
