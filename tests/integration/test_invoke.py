"""`backbeat invoke`, up to the container: its command, its environment, the forwarder and the data it works on."""

import asyncio
import json
from pathlib import Path

import boto3
from support import ROOT

from backbeat.models import Post
from backbeat_ops import invoke, localcloud
from backbeat_ops.stack import Stack

EVENT = ROOT / "events/process_media_upload/typical.json"
KEY = "posts/post-1/sample.jpg"


def test_the_container_gets_the_deployed_names_and_the_endpoint(cloud: Stack) -> None:
    command = invoke._command(cloud, "process_media_upload", EVENT, "http://192.0.2.1:4566")
    assert command[1:4] == ["local", "invoke", "ProcessMediaUploadFunction"]
    given = {name: command[command.index(name) + 1] for name in ("--template", "--event", "--env-vars")}
    environment = json.loads(Path(given["--env-vars"]).read_text("utf-8"))["ProcessMediaUploadFunction"]
    assert environment["POSTS_TABLE"] == cloud.tables["POSTS_TABLE"]
    assert environment["MEDIA_BUCKET"] == cloud.buckets["media"]
    template = json.loads(Path(given["--template"]).read_text("utf-8"))
    function = template["Resources"]["ProcessMediaUploadFunction"]["Properties"]
    declared = template["Globals"]["Function"]["Environment"]["Variables"] | function["Environment"]["Variables"]
    assert set(environment) == set(declared), "SAM passes on only what the template declares"
    assert "--language-extensions" in command, "without it SAM cannot read a template with loops"


def test_the_forwarder_hands_on_to_the_local_cloud(cloud: Stack) -> None:
    port = int(localcloud.endpoint().rsplit(":", 1)[1])

    async def buckets_through_it() -> set[str]:
        server = await asyncio.start_server(lambda *streams: invoke._forward(port, *streams), "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            answer = await asyncio.to_thread(boto3.client("s3", endpoint_url=url).list_buckets)
        return {bucket["Name"] for bucket in answer["Buckets"]}

    assert set(cloud.buckets.values()) <= asyncio.run(buckets_through_it())


def test_an_upload_is_there_and_unprocessed_whenever_its_event_comes(cloud: Stack) -> None:
    for _ in range(2):
        invoke._prepare(json.loads(EVENT.read_text("utf-8")))
        assert boto3.client("s3").head_object(Bucket=cloud.buckets["uploads"], Key=KEY)["ContentLength"] > 0
        post = Post.get("post-1", consistent_read=True)
        assert post.media.as_dict() == {}
        assert post.media_status == "ready", "the deployed function had it first"


def test_a_foreign_key_needs_no_upload(cloud: Stack) -> None:
    invoke._prepare(json.loads(EVENT.with_name("poison.json").read_text("utf-8")))
    listed = boto3.client("s3").list_objects_v2(Bucket=cloud.buckets["uploads"], Prefix="avatars/")
    assert listed["KeyCount"] == 0
