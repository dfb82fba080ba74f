"""Imports point one way: functions and the operator's side use layers/shared, and nothing points back."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from pieces import NO_TASKS, complete
from support import ROOT, logical_ids, logical_name, template

from backbeat.tasks import TASKS

FUNCTIONS = {
    folder.name: {path.stem for path in folder.rglob("*.py")}
    for folder in (ROOT / "functions").iterdir()
    if list(folder.glob("*.py"))
}
"""Each function's folder, and the modules in it."""
ALL_MODULES = set().union(*FUNCTIONS.values())


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no Python file in {folder}"
    return found


def imported(path: Path) -> Iterator[str]:
    """The full name of every module that a file imports, wherever in the file it does."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.module or ""


def imports_of(folder: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(folder)
        for module in imported(path)
        if module.split(".")[0] in forbidden
    ]


def test_the_shared_layer_imports_neither_a_function_nor_the_operators_side() -> None:
    assert imports_of("layers/shared", {"backbeat_ops", "tests", *ALL_MODULES}) == []


def test_the_operators_side_imports_no_function() -> None:
    assert imports_of("backbeat_ops", {"tests", *ALL_MODULES}) == []


def test_the_bridge_to_django_imports_neither_a_function_nor_the_operators_side() -> None:
    assert imports_of("backbeat_django", {"backbeat_ops", "tests", *ALL_MODULES}) == []


def test_neither_the_layer_nor_the_operators_side_imports_the_bridge() -> None:
    bridge = {"backbeat_django", "backbeat_testing", "django"}
    assert imports_of("layers/shared", bridge) == []
    assert imports_of("backbeat_ops", bridge) == []


def test_a_function_imports_neither_another_one_nor_the_operators_side() -> None:
    for name, own in FUNCTIONS.items():
        assert imports_of(f"functions/{name}", {"backbeat_ops", "tests"} | ALL_MODULES - own) == []


def module_name(path: Path) -> str:
    """The name under which a file of the shared layer is imported."""
    parts = path.relative_to(ROOT / "layers/shared").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_layers_first_page_names_every_module() -> None:
    doc = ast.get_docstring(parsed(ROOT / "layers/shared/backbeat/__init__.py")) or ""
    named = re.findall(r"^    ([a-z.]+) {2,}\S", doc, re.MULTILINE)
    files = [path for path in sources("layers/shared") if path.stem != "__init__" and path.parent.name != "models"]
    assert sorted(named) == sorted(["models", *(module_name(path).removeprefix("backbeat.") for path in files)])


def imported_of(path: Path, modules: set[str]) -> set[str]:
    """Those of some modules that a file imports, wherever in it: in a function, or for type checkers alone, as well."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                found.add(member if member in modules else node.module or "")
    return found & modules


def test_imports_within_the_shared_layer_have_no_circle() -> None:
    files = {module_name(path): path for path in sources("layers/shared")}
    graph = {name: imported_of(path, set(files)) for name, path in files.items()}
    assert graph["backbeat.tasks"] == {"backbeat.producer"}  # that is, the graph has edges
    TopologicalSorter(graph).prepare()  # its error names the circle


providers = cache(packages_distributions)
"""Which distributions provide a module; finding out takes half a second."""


@cache
def pinned(layer: Path) -> set[str]:
    """The distributions that a layer installs."""
    lines = (layer / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {match[1] for line in lines if (match := re.match(r"([a-z0-9-]+)==", line))}


def not_installed(paths: list[Path], layers: set[Path]) -> list[str]:
    """What files import that comes neither with Python nor with the layers."""
    own = {path.stem for path in paths} | {"backbeat"}
    return not_among({name for layer in layers for name in pinned(layer)}, own, paths)


def not_among(available: set[str], own: set[str], paths: list[Path]) -> list[str]:
    """What files import that comes neither with Python, nor with them, nor with some distributions."""
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in paths
        for module in imported(path)
        if (top := module.split(".")[0]) not in sys.stdlib_module_names | own
        and not top.startswith("mypy_boto3_")  # for type checkers alone
        and not {name.lower().replace("_", "-") for name in providers().get(top, [])} & available
    ]


def test_what_a_function_imports_is_in_its_layers() -> None:
    everyones = template()["Globals"]["Function"]["Layers"]
    for name in (*complete(), *NO_TASKS):
        function = template()["Resources"][f"{logical_name(name)}Function"]["Properties"]
        ids = logical_ids([everyones, function.get("Layers", [])])
        layers = {ROOT / template()["Resources"][layer]["Properties"]["ContentUri"] for layer in ids}
        assert not_installed(sources(f"functions/{name}"), layers) == []


def test_what_the_shared_layer_imports_is_in_it() -> None:
    assert not_installed(sources("layers/shared"), {ROOT / "layers/shared"}) == []


def offered(extra: str) -> set[str]:
    """The distributions that an extra of the wheel installs, without those that these bring with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {"botocore", "pydantic-core"}  # the other halves of boto3 and pydantic
    for line in (*project["dependencies"], *project["optional-dependencies"][extra]):
        name, inner = re.match(r"([a-z0-9-]+)(?:\[(.*?)\])?", line).groups()  # type: ignore[union-attr]
        found |= offered(inner) if name == "backbeat" else {name}
    return found


@pytest.mark.parametrize(
    ("extra", "folder", "optional"),
    [
        ("functions", "layers/shared", set()),
        # ministack and sam are a checkout's; the others come with typer and jinja2
        ("ops", "backbeat_ops", {"click", "markupsafe", "ministack", "samtranslator"}),
        ("django", "backbeat_django", {"rest_framework"}),  # `serializers` is for those who have it
        ("testing", "backbeat_testing", {"django", "pytest"}),  # its mixin and its fixtures likewise
    ],
)
def test_what_a_package_of_the_wheel_imports_comes_with_its_extra(extra: str, folder: str, optional: set[str]) -> None:
    own = {"backbeat", "backbeat_ops", "backbeat_django", "backbeat_testing"} | optional
    assert not_among(offered(extra), own, sources(folder)) == []


def test_whoever_uses_the_layers_models_has_all_that_the_layer_needs() -> None:
    for extra in ("ops", "django", "testing"):
        assert offered(extra) >= offered("functions")


def test_a_producer_needs_none_of_the_tasks_dependencies() -> None:
    program = """
import sys
for name in ("aws_lambda_powertools", "pynamodb", "jinja2", "PIL"):
    sys.modules[name] = None  # importing it now fails
from backbeat.tasks import TASKS
print(*TASKS)
"""
    environment = {"PYTHONPATH": str(ROOT / "layers/shared")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, list(TASKS)), done.stderr


def called(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every call in a file, as far as it is spelled out."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def calls_in_functions(forbidden: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} calls {name}"
        for path in sources("functions")
        for line, name in called(path)
        if re.search(forbidden, name)
    ]


def test_a_task_never_reads_the_wall_clock() -> None:
    """Logical time is the message's; a run can be made again, at the time it was meant for."""
    assert calls_in_functions(r"\b(now|utcnow|today|time\.time|time_ns|localtime|gmtime)$") == []


def test_a_task_never_scans_a_table() -> None:
    assert calls_in_functions(r"\.scan$") == []


def test_no_multiprocessing_in_a_function() -> None:
    """Lambda has no /dev/shm, so its pools, queues and locks fail there."""
    assert imports_of("functions", {"multiprocessing"}) == []
