"""`backbeat restore` and `backbeat erase`: what they say is what they did."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from support import Killed, function_environment
from typer.testing import CliRunner

from backbeat.app import erasing
from backbeat.models import Comment, Post, User
from backbeat.posts import archive
from backbeat_ops import cli
from backbeat_ops.commands import members
from backbeat_ops.stack import NotFound

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Stack:
    name: str = "backbeat-test"
    buckets: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def _stack(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = function_environment("CleanupOldPostsFunction")
    buckets = {name: environment[f"{name.upper()}_BUCKET"] for name in ("uploads", "media", "archive")}
    for name in buckets:
        monkeypatch.setenv(f"{name.upper()}_BUCKET", "set by the command")
    monkeypatch.setattr(members, "the_stack", lambda context: Stack(buckets=buckets))
    User.join("ann", name="Ann", email="ann@example.com", at=NOW)


def backbeat(*words: str, answer: str = "") -> Any:
    return CliRunner().invoke(cli.app, words, input=answer)


@pytest.fixture
def archived(monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose manifest holds one post with a comment, both deleted since."""
    for name, value in function_environment("CleanupOldPostsFunction").items():
        monkeypatch.setenv(name, value)
    Post.publish("p1", author_id="ann", text="Hi", at=NOW)
    Post.comment("p1", "c1", author_id="ann", text="Oh", at=NOW)
    entry = archive.entry_of("p1")
    assert entry is not None
    archive.write("run-1", "page", [entry])
    Post.remove("p1", at=NOW)
    return "run-1"


def test_restore_brings_back_a_runs_posts(archived: str) -> None:
    done = backbeat("restore", f"{archived}/take")
    assert (done.exit_code, done.stdout) == (0, "Restored 1 post, 1 comment and 0 likes.\n")
    assert Post.get("p1").text == "Hi"
    assert Comment.get("p1", "c1").text == "Oh"
    again = json.loads(backbeat("restore", archived, "--json").stdout)
    assert (again["posts"], again["there"]) == (0, 1)


def test_restore_of_a_run_without_a_manifest_says_so() -> None:
    done = backbeat("restore", "run-9")
    assert done.exit_code == 1
    assert isinstance(done.exception, NotFound)
    assert "run 'run-9' has no manifest" in str(done.exception)


def test_erase_asks_first(archived: str) -> None:
    assert backbeat("erase", "ann", answer="n\n").exit_code == 1
    assert User.get("ann").name == "Ann"
    done = backbeat("erase", "ann", answer="y\n")
    assert done.exit_code == 0
    assert "0 posts" in done.stdout and "2 archived rows" in done.stdout
    with pytest.raises(User.DoesNotExist):
        User.get("ann")


def test_erase_can_be_scripted(archived: str) -> None:
    archive.restore(archived, at=NOW)
    done = json.loads(backbeat("erase", "ann", "--yes", "--json").stdout)
    assert (done["posts"], done["comments"], done["archived"]) == (1, 1, 2)
    assert archive.restore(archived, at=NOW).posts == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_erasing_nobody_is_an_error(as_json: bool) -> None:
    backbeat("erase", "ann", "--yes")
    for nobody in ("ann", "nobody"):
        done = backbeat("erase", nobody, "--yes", *(["--json"] if as_json else []))
        assert (done.exit_code, done.stdout) == (1, "")
        assert isinstance(done.exception, NotFound)
        assert f"There is no user '{nobody}' in backbeat-test" in str(done.exception)


def test_an_erasure_that_was_cut_off_is_finished(archived: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own row goes last, so that whoever looks sees that something is left to do."""

    def killed(user_id: str) -> int:
        raise Killed

    with monkeypatch.context() as cut:
        cut.setattr(archive, "forget", killed)
        with pytest.raises(Killed):
            erasing.erase("ann", at=NOW)
    done = json.loads(backbeat("erase", "ann", "--yes", "--json").stdout)
    assert (done["user"], done["posts"], done["archived"]) == (True, 0, 2)
    assert backbeat("erase", "ann", "--yes").exit_code == 1


def test_what_the_archive_holds_of_a_user_who_is_gone_is_found(archived: str) -> None:
    User("ann").delete()
    done = json.loads(backbeat("erase", "ann", "--yes", "--json").stdout)
    assert (done["user"], done["archived"]) == (False, 2)


def test_a_user_of_whom_there_is_but_the_row_is_erased() -> None:
    done = backbeat("erase", "ann", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[0][:28]) == (0, "Erased the user 'ann': 0 fol")


def test_a_hidden_post_is_shown_again() -> None:
    User.join("ada", name="Ada", email="ada@example.net", at=NOW)
    Post.publish("p", author_id="ada", text="x", at=NOW, hashtags=[])
    Post("p").update([Post.visibility.set("hidden"), Post.hidden_from.set("public"), Post.hidden_at.set(NOW)])

    def unhidden(post_id: str) -> Any:
        return CliRunner().invoke(cli.app, ["unhide", post_id, "--json"])

    assert json.loads(unhidden("p").stdout) == {"post_id": "p", "shown": True}
    assert Post.get("p").visibility == "public"
    assert json.loads(unhidden("p").stdout)["shown"] is False
    assert isinstance(unhidden("q").exception, NotFound)
