"""The documentation names only what there is: make targets, commands and their options, files, parameters."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support import ROOT, resolve, resources, template

from backbeat_ops import cli

DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "template.yaml"])
"""The pages, and the template, whose alarms tell the operator what to do."""

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


@cache
def commands() -> dict[str, set[str]]:
    """Every command of `backbeat`, `upload` or `mail settle`, with its options; "" is `backbeat` itself."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, set[str]]]:
        yield path, {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}".strip())

    return {path: options | {"--help"} for path, options in walk(cli.whole(), "")}


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """The longest command that a call begins with, and its further words; options of `backbeat` itself come first."""
    while words and words[0] in commands()[""]:
        words = words[2:]  # each takes a value
    for length in range(len(words), -1, -1):
        if " ".join(words[:length]) in commands():
            return " ".join(words[:length]), words[length:]
    raise AssertionError("unreachable: the empty path is a command")


@every_page
def test_every_command_and_its_options_exist(page: Path) -> None:
    wrong = []
    for words in calls(page, "backbeat"):
        name, rest = command_of(words)
        group = any(other.startswith(f"{name} ".lstrip()) for other in commands() if other != name)
        options = {word.split("=")[0] for word in rest if word.startswith("--")}
        if options - commands()[name] or (group and rest and not rest[0].startswith("-")):
            wrong.append(" ".join(words))
    assert wrong == []


def test_every_command_is_documented() -> None:
    documented = {command_of(words)[0] for page in DOCS for words in calls(page, "backbeat")}
    groups = {name for name in commands() if any(other.startswith(f"{name} ") for other in commands())}
    assert set(commands()) - documented - groups - {""} == set()


def test_every_parameter_is_documented() -> None:
    text = "".join(page.read_text("utf-8") for page in DOCS if page.suffix == ".md")
    assert [name for name in template()["Parameters"] if f"`{name}`" not in text] == []


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


PAGES = sorted((ROOT / "docs").glob("*.md"))
CONTENTS = ROOT / "docs/README.md"
LONGEST_LINE = 100

every_page_of_docs = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page outside of code blocks and tables, each link's address left out."""
    in_code = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith("|") and not line.startswith("    "):
            yield number, re.sub(r"\]\([^)]*\)", "]", line)


@every_page_of_docs
def test_a_page_begins_with_what_its_reader_wants(page: Path) -> None:
    title, wish = page.read_text("utf-8").split("\n\n")[:2]
    assert title.startswith("# ")
    assert wish.startswith("You want ")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    assert [number for number, line in prose(page) if len(line) > LONGEST_LINE] == []


def test_the_contents_list_every_page_once() -> None:
    listed = re.findall(r"\]\(([^)]+)\)", CONTENTS.read_text("utf-8"))
    assert sorted(listed) == [page.name for page in PAGES if page != CONTENTS]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = [line.lstrip("#").strip() for _, line in prose(page) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_to_a_section_finds_it(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text("utf-8"))
    missing = [
        f"{path}#{anchor}"
        for path, anchor in links
        if "://" not in path and anchor not in anchors(page.parent / path if path else page)
    ]
    assert missing == []


def test_every_alarm_names_the_section_to_open() -> None:
    for name in resources("AWS::CloudWatch::Alarm"):
        said = resolve(template()["Resources"][name]["Properties"]["AlarmDescription"]).strip()
        (link,) = re.findall(r"docs/([\w-]+\.md)#([\w-]+)$", said)
        assert link[1] in anchors(ROOT / "docs" / link[0]), said


def test_every_section_that_a_command_names_is_there() -> None:
    """In quotes, after its page: `docs/deploying.md, "Get out of SES's sandbox"`."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "backbeat_ops").rglob("*.py"))
    named = re.findall(r'docs/([\w-]+\.md)(?:, | has it under )"([^"]+)"', source)
    assert len(named) >= 2
    for page, heading in named:
        text = (ROOT / "docs" / page).read_text("utf-8")
        plain = heading.replace("\\", "")
        assert re.search(rf"^#+ {re.escape(plain)}$", text, re.MULTILINE), f"{page}: {heading}"


def test_the_schema_of_json_is_one_and_names_commands_that_are_there() -> None:
    schema = json.loads((ROOT / "docs/backbeat.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    for name, answer in schema["commands"].items():
        Draft202012Validator.check_schema({"$defs": schema["$defs"], **answer})
        assert "--json" in commands()[name]
    page = (ROOT / "docs/json.md").read_text("utf-8")
    assert f"Its `version` is {schema['version']}." in page


def parsed(words: list[str]) -> None:
    """Let the command's own parser take a call: each option's and argument's type, and nothing is done."""
    command: Any = cli.whole()
    context = command.make_context("backbeat", list(words))
    while words_left := [*context._protected_args, *context.args]:
        name, command, rest = command.resolve_command(context, words_left)
        if not hasattr(command, "commands"):
            command.make_context(name, rest, parent=context)
            return
        context = command.make_context(name, rest, parent=context)


GUIDES = [page for page in DOCS if page.suffix == ".md" and page.name not in ("CHANGELOG.md", "decisions.md")]


@pytest.mark.parametrize("page", GUIDES, ids=[page.name for page in GUIDES])
def test_the_commands_own_parser_takes_every_call_in_a_block(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its arguments as they stand there: times, lengths of time, patterns, and whatever is asked for by name."""
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            if words and words[0] == "backbeat" and "--install-completion" not in words:  # which parsing would do
                for file in (word for word in words if re.fullmatch(r"[\w-]+\.(jpg|jpeg|png|mp4|mov)", word)):
                    (tmp_path / file).touch()
                end = next((n for n, word in enumerate(words) if word in (">", "|", "&&")), None)
                parsed(words[1:end])


LAYER = ROOT / "layers/shared/backbeat"


@cache
def rooms() -> dict[str, int]:
    """The rooms of the layer, each with the number of its line in the architecture's drawing."""
    drawing = (
        (ROOT / "docs/architecture.md").read_text("utf-8").split("so there is no circle:\n\n```\n")[1].split("```")[0]
    )
    return {room: number for number, line in enumerate(drawing.splitlines()) for room in line.split()}


def room_of(module: str) -> str:
    """The room that a module of the layer is in, or "" where none is drawn."""
    return max((room for room in rooms() if f"{module}.".startswith(f"{room}.")), key=len, default="")


def modules_imported(path: Path) -> Iterator[str]:
    """The layer's modules that one of them imports, without the package's own name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("backbeat.") for name in names if name.startswith("backbeat."))


def modules() -> dict[str, Path]:
    """The layer's modules by name, without the packages' own files where these say nothing but what is in them."""
    found = {".".join(path.relative_to(LAYER).with_suffix("").parts): path for path in LAYER.rglob("*.py")}
    return {
        name.removesuffix(".__init__"): path
        for name, path in found.items()
        if path != LAYER / "__init__.py"  # the front door is no room: `backbeat.connect` leads into one
        and (path.name != "__init__.py" or list(modules_imported(path)))
    }


def test_every_module_of_the_layer_is_in_a_room_and_every_room_is_there() -> None:
    assert [name for name in modules() if not room_of(name)] == []
    assert [room for room in rooms() if not any(room_of(name) == room for name in modules())] == []


def test_a_room_imports_only_rooms_on_lines_below_it() -> None:
    sideways_or_up = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in modules_imported(path)
        if room_of(imported) != room_of(name) and rooms()[room_of(imported)] <= rooms()[room_of(name)]
    ]
    assert sideways_or_up == []
