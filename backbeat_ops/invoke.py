"""One function, run by the real `sam local invoke`, in Lambda's own image, against the local cloud's data.

Two things stand in the way. SAM resolves `!Ref` to logical ids: so the container is given the deployed function's own
environment. And a container cannot reach this machine's loopback, where the local cloud listens: so a forwarder listens
where containers see this machine, for as long as the call lasts.
"""

import asyncio
import errno
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from backbeat import messages
from backbeat.ledger import Outcome
from backbeat.messages import InvalidMessage
from backbeat.models import Post, save_if
from backbeat.posts.files import post_of
from backbeat_ops import deployment, localcloud, sample
from backbeat_ops.localcloud import ROOT, LocalCloudError, Say
from backbeat_ops.runs import words
from backbeat_ops.stack import Stack

BUILT = ROOT / ".aws-sam/build"
ENDINGS = {*Outcome, "split", "waiting"}
"""How the runtime's log says that a record ended."""

LONGEST_SHOWN = 300
"""Characters of an answer that a table shows; `--json` has all."""


def events_of(function: str | None) -> list[Path]:
    """The events of a function, or of all, in events/.

    Raises:
        LocalCloudError: There is none.
    """
    found = (ROOT / "events").glob(f"{function or '*'}/*.json")
    # The typical one first: what comes after it may be its duplicate.
    events = sorted(found, key=lambda path: (path.parent, path.stem != "typical", path))
    if not events:
        raise LocalCloudError(f"There is no event in events/{function or ''}.")
    return events


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    Attributes:
        command: The call of `sam`.
        payload: What the function returned, or its error; None where it gave no answer.
        records: The runtime's log line of each record: how it ended, and its result or error.
        log: All that the function and SAM wrote.
    """

    command: list[str]
    payload: Any
    records: list[dict[str, Any]]
    log: str

    @property
    def failed(self) -> bool:
        """Whether the function raised, or gave no answer. SAM exits with 0 even then."""
        return self.payload is None or (isinstance(self.payload, dict) and "errorType" in self.payload)

    def shown(self) -> list[tuple[str, str]]:
        """How each record ended and what came of it, for people; the whole answer where no record says so."""
        if self.failed or not self.records:
            text = json.dumps(self.payload, ensure_ascii=False)
            shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
            return [("failed" if self.failed else "answered", shown)]
        return [(record["message"], _said(record)) for record in self.records]


def _said(record: dict[str, Any]) -> str:
    return str(record.get("error") or record.get("why") or words(record.get("result")))


def ready(say: Say) -> str:
    """Build the functions as they stand now; return the address under which containers see this machine.

    Args:
        say: Told what is being done, line by line.

    Raises:
        LocalCloudError: There is no container engine, it cannot get Lambda's image, or the build failed.
    """
    host = _this_machine()
    deployment.build(say)
    return host


def call(stack: Stack, host: str, function: str, event: Path) -> Answer:
    """Run one function, as built, on one event.

    Args:
        stack: The stack on the local cloud, with this process pointed at it.
        host: What `ready` returned.
        function: The function's name, which is its folder's.
        event: A JSON file that holds what Lambda would hand to the function.

    Raises:
        LocalCloudError: There is no such function or event, or the function is not deployed.
    """
    if not (ROOT / "functions" / function / f"{function}.py").is_file():
        known = ", ".join(sorted(folder.name for folder in (ROOT / "functions").glob("*/")))
        raise LocalCloudError(f"There is no function {function!r}. Functions: {known}.")
    _prepare(_read(event))
    return asyncio.run(_call(stack, host, function, event))


async def _call(stack: Stack, host: str, function: str, event: Path) -> Answer:
    """Run `sam local invoke`, with a forwarder beside it."""
    port = int(localcloud.endpoint().rsplit(":", 1)[1])
    try:
        server = await asyncio.start_server(lambda *streams: _forward(port, *streams), host, 0)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        # The engine is in a virtual machine and hands on to this machine's loopback by itself, as Docker Desktop does.
        return await _sam(stack, function, event, f"http://{host}:{port}")
    async with server:
        return await _sam(stack, function, event, f"http://{host}:{server.sockets[0].getsockname()[1]}")


async def _sam(stack: Stack, function: str, event: Path, endpoint: str) -> Answer:
    command = _command(stack, function, event, endpoint)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=deployment.sam_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, log = (text.decode(errors="replace") for text in await process.communicate())
    return Answer(command, _last_json(output), list(_records(log)), log)


def _command(stack: Stack, function: str, event: Path, endpoint: str) -> list[str]:
    """The call of `sam`, with the files it needs written.

    A container gets only variables that the template declares, and the endpoint is no business of the template: a
    copy of the built one declares it.
    """
    logical_id = f"{function.title().replace('_', '')}Function"
    try:
        deployed = boto3.client("lambda").get_function_configuration(FunctionName=f"{stack.name}-{function}")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise LocalCloudError(f"{function} is not deployed to the local cloud: `backbeat up` deploys it.") from error
    from samtranslator.yaml_helper import yaml_parse  # comes with sam, which operating a stack does not need

    template = yaml_parse((BUILT / "template.yaml").read_text())
    template["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = endpoint
    copy, variables = BUILT / "invoke.json", localcloud.HOME / "invoke.env.json"
    copy.write_text(json.dumps(template, default=str))
    own = {**deployed["Environment"]["Variables"], "AWS_ENDPOINT_URL": endpoint}
    variables.write_text(json.dumps({logical_id: own}, indent=2))
    command = [str(Path(sys.executable).with_name("sam")), "local", "invoke", logical_id]
    command += ["--template", str(copy), "--event", str(event.resolve()), "--env-vars", str(variables)]
    # Said here, too, as sam looks for samconfig.toml beside the template that it is given.
    return [*command, "--language-extensions", "--skip-pull-image", *deployment.parameters()]


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand one connection on to the local cloud."""
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def _this_machine() -> str:
    """The address under which containers see this machine, as the engine says itself.

    Raises:
        LocalCloudError: No container engine answers, or it cannot get Lambda's image.
    """
    machine = "arm64" if deployment.architecture() == "arm64" else "x86_64"
    image = f"public.ecr.aws/lambda/python:{sys.version_info.major}.{sys.version_info.minor}-{machine}"
    name = "this-machine"
    run = ["docker", "run", "--rm", "--add-host", f"{name}:host-gateway", "--entrypoint", "cat", image, "/etc/hosts"]
    try:
        done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LocalCloudError(
            "`sam local invoke` needs a container engine, and there is no `docker` on PATH. Nothing else needs one."
        ) from error
    if done.returncode:
        raise LocalCloudError(f"The container engine cannot run {image}:\n{done.stderr.strip()}")
    (address,) = (line.split()[0] for line in done.stdout.splitlines() if line.split()[1:] == [name])
    return address


def _read(event: Path) -> Any:
    try:
        return json.loads(event.read_text())
    except FileNotFoundError:
        raise LocalCloudError(f"There is no event {event}: events/<function>/ holds those of each function.") from None
    except ValueError as error:
        raise LocalCloudError(f"{event} is not JSON: {error}") from error


def _prepare(event: Any) -> None:
    """Make true what an event about an upload takes for granted: the upload is there, and has not been processed."""
    for record in event.get("Records", []) if isinstance(event, dict) else []:
        for body in messages.split(record.get("body", "")):
            try:
                message = messages.parse(body, "process_media_upload", "", datetime.now(UTC))
                given = message.kwargs if message is not None else {}
                if given.get("event_name", "").startswith("ObjectCreated:"):
                    _upload(given["bucket"], given["key"], post_of(given["key"]))
            except (InvalidMessage, ValueError):
                continue  # that is what the event is about


def _upload(bucket: str, key: str, post_id: str) -> None:
    """Put a sample photo where an upload is missing; strike off its post what was made of it."""
    post = Post.new(post_id, author_id="operator", text=key, created_at=datetime.now(UTC), visibility="hidden")
    save_if(post, Post.post_id.does_not_exist())
    s3 = boto3.client("s3")
    try:
        content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        content = sample.photo()
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        for _ in range(240):  # the deployed function hears of it too, and comes first
            if key in _maps(post_id)[1]:
                break
            time.sleep(0.25)
    media, uploads = _maps(post_id)
    media.pop(hashlib.sha256(content).hexdigest()[:32], None)
    uploads.pop(key, None)
    Post(post_id).update(actions=[Post.media.set(media), Post.media_uploads.set(uploads)])


def _maps(post_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a post keeps of its uploads: by content, and by key."""
    post = Post.get(post_id, consistent_read=True)
    by_content, by_key = ((kept.as_dict() if kept else {}) for kept in (post.media, post.media_uploads))  # type: ignore[no-untyped-call]
    return by_content, by_key


def _last_json(output: str) -> Any:
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        return None


def _records(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("message") in ENDINGS and "service" in entry:
            yield entry
