"""What is installed is pinned with hashes, for every runtime, and from no registry by name."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.markers import Marker
from support import ROOT, template

LAYERS = ("layers/shared/requirements", "layers/imaging/requirements")
LOCKS = [*(f"{layer}.txt" for layer in LAYERS), "requirements/dev.txt", "requirements/emulator.txt"]

Pin = tuple[str, str, str, list[str]]


def pins(lock: Path) -> list[Pin]:
    """A lock's pins: name, version, marker and hashes."""
    found: list[Pin] = []
    for line in lock.read_text("utf-8").replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        match = re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+?)(?:\s*;\s*(.+))?", requirement.strip())
        assert match, f"{lock.name}: {line[:100]!r} is no pin"
        found.append((match[1], match[2], match[3] or "", [given.strip() for given in hashes]))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    for name, _, _, hashes in pins(ROOT / lock):
        assert hashes, name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", given) for given in hashes), name


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("runtime", template()["Parameters"]["PythonRuntime"]["AllowedValues"])
def test_a_layer_pins_everything_once_for_every_runtime(layer: str, runtime: str) -> None:
    version = runtime.removeprefix("python")
    environment = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux"}
    names = [n for n, _, marker, _ in pins(ROOT / f"{layer}.txt") if not marker or Marker(marker).evaluate(environment)]
    assert [a for a, b in pairwise(sorted(names)) if a == b] == []
    asked = {
        match[1]
        for line in (ROOT / f"{layer}.in").read_text("utf-8").splitlines()
        if (match := re.match(r"([a-z0-9-]+)", line))
    }
    assert asked <= set(names)


def test_what_is_tested_is_what_is_deployed() -> None:
    """The development environment has each layer's very versions."""
    everything = {(name, version) for name, version, _, _ in pins(ROOT / "requirements/dev.txt")}
    for layer in LAYERS:
        assert {(name, version) for name, version, _, _ in pins(ROOT / f"{layer}.txt")} <= everything


def test_no_lock_names_a_registry() -> None:
    for lock in LOCKS:
        assert not re.search(r"://|--index-url|--find-links", (ROOT / lock).read_text("utf-8")), lock
