"""Tests of pages run in a real browser, which may speak to this machine only, and whose console must stay silent."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromium as installed
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser that asks for nothing by itself; and that root can start, as in a container."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
WIDTHS = {390: 844, 1280: 800}
"""The screens that pages are looked at on, a phone's and a laptop's: heights by width, in pixels."""
SCHEMES = ("light", "dark")
PATIENCE = 60_000
"""Milliseconds in which a page has surely changed and a function run, though every core is taken."""
expect.set_options(timeout=PATIENCE)

Watched = Callable[[BrowserContext], list[str]]
Axe = Callable[..., None]
Shots = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, started once for a module's tests: while it runs, its loop of events is the thread's own."""
    installed.install()
    found = installed.find()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found.path, args=QUIET, env={**os.environ, **found.environment}, timeout=PATIENCE
        )
        yield started
        started.close()


@pytest.fixture
def watched() -> Watched:
    """What goes wrong in a profile's pages, as it does: errors, and requests to other machines, which are not sent."""
    return _watch


@pytest.fixture
def page(chromium: Browser, watched: Watched) -> Iterator[Page]:
    """A page of a fresh profile; the test fails on an error in its console, and on a request to another machine."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    faults = watched(context)
    yield context.new_page()
    context.close()
    assert faults == []


@pytest.fixture
def axe(page: Page) -> Axe:
    """Look for faults of accessibility in what the page shows: there must be no serious and no critical one."""

    def check(shown: Page = page) -> None:
        # What devtools evaluates is not held to the page's Content-Security-Policy, as a script element would be.
        shown.evaluate(installed.axe())
        found: Any = shown.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults = [
            f"{fault['id']}: {node['html'][:200]} {node['failureSummary']}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert not faults, "\n".join(faults)

    return check


@pytest.fixture
def shots(page: Page, tmp_path: Path, axe: Axe) -> Shots:
    """Take the page on a phone and on a laptop, in the light and in the dark, each without a fault that axe finds.

    The pictures are in the test's folder, or in the one that BACKBEAT_SHOTS names: `media-390-dark.png`.
    A page must not be wider than the screen.
    """

    def take(name: str, full: bool = False) -> list[Path]:
        assert re.fullmatch("[a-z0-9-]+", name)
        folder = Path(os.environ.get("BACKBEAT_SHOTS") or tmp_path)
        folder.mkdir(parents=True, exist_ok=True)
        taken = []
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} px wide on a screen of {width} px"
                axe()
                path = folder / f"{name}-{width}-{scheme}.png"
                page.screenshot(path=path, full_page=full)
                taken.append(path)
        return taken

    return take


def _watch(context: BrowserContext) -> list[str]:
    faults: list[str] = []

    def refuse(route: Route) -> None:
        faults.append(f"asks {route.request.url}")
        route.abort()

    context.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.route(_elsewhere, refuse)
    return faults


def _elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("about", "blob", "data") and parts.hostname not in LOOPBACK
