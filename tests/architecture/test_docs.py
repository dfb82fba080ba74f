"""The documentation names only what there is: make targets, commands and their options, files, parameters."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support import ROOT

DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

every_page = pytest.mark.parametrize("page", DOCS, ids=[str(page.relative_to(ROOT)) for page in DOCS])


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def code(page: Path) -> Iterator[str]:
    """Each line of code on a page: in its fenced blocks, and between backticks in its text."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`]+)`", rest)


def calls(page: Path, program: str) -> Iterator[list[str]]:
    """The words that follow a program's name wherever a page calls it."""
    for line in code(page):
        for command in re.split(r"&&|\|\||[;|]", re.sub(r"\s#.*", "", line)):
            words = command.strip().removeprefix("$ ").split()
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables set for one command
                words.pop(0)
            if words and words[0] == program:
                yield words[1:]


@every_page
def test_every_make_target_exists(page: Path) -> None:
    named = {word for words in calls(page, "make") for word in words if re.fullmatch(r"[a-z][a-z-]*", word)}
    assert not named or named <= make_targets(), named - make_targets()


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []
