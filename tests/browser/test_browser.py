"""The browser that tests of pages run in sees what is wrong with a page, and says so."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

A_PAGE = "<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>"


def test_a_page_is_taken_on_every_screen(page: Page, shots: Callable[[str], list[Path]]) -> None:
    page.set_content(A_PAGE)
    taken = shots("a-page")
    assert [path.name for path in taken] == [
        f"a-page-{width}-{scheme}.png" for width in (390, 1280) for scheme in ("light", "dark")
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in taken)


def test_a_page_that_is_too_wide_is_refused(page: Page, shots: Callable[[str], list[Path]]) -> None:
    page.set_content(A_PAGE + "<div style='width: 400px'>wide</div>")
    with pytest.raises(AssertionError, match="px wide on a screen of 390 px"):
        shots("wide")


def test_a_fault_of_accessibility_is_named(page: Page, axe: Callable[[], None]) -> None:
    page.set_content(A_PAGE + "<input>")
    with pytest.raises(AssertionError, match="label"):
        axe()


def test_errors_and_requests_to_other_machines_are_noted(chromium: Browser, watched: Callable[..., list[str]]) -> None:
    context = chromium.new_context()
    faults = watched(context)
    page = context.new_page()
    page.set_content(A_PAGE + "<img src='http://192.0.2.1/picture.png' alt=''><script>console.error('oh')</script>")
    with context.expect_event("weberror"):
        page.evaluate("setTimeout(() => { throw new Error('thrown') }, 0)")
    context.close()
    assert "asks http://192.0.2.1/picture.png" in faults
    assert "oh" in faults
    assert any("thrown" in fault for fault in faults)
