"""What the local cloud runs: what was deployed by `sam`, or what was swapped since, and which of the two."""

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.awslambda.models import lambda_backends
from moto.core import DEFAULT_ACCOUNT_ID

from backbeat_ops import deployment, localcloud
from backbeat_ops.deployment import DoesNotCompile, deploy, swap
from backbeat_ops.localcloud import STACK, LocalCloudError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like this project's, with two functions."""
    for module in (deployment, localcloud):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(localcloud, "HOME", tmp_path / ".backbeat")
    files = ("template.yaml", "samconfig.toml", "functions/first/first.py", "functions/second/second.py")
    for name in (*files, "layers/shared/backbeat/tasks.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("was = 'deployed'\n")
    return tmp_path


class Cloud:
    """moto's Lambda, and a `sam` that says what it was called for."""

    def __init__(self) -> None:
        self.sam: list[str] = []
        self.source: str | None = None
        self.lambda_ = boto3.client("lambda")
        self.role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("first.py", "was = 'deployed'\n")
        self.archive = content.getvalue()
        version = self.lambda_.publish_layer_version(LayerName="SharedLayer", Content={"ZipFile": self.archive})
        self.layer = version["LayerVersionArn"]
        for name in (f"{STACK}-first", f"{STACK}-second", "anothers"):
            self.lambda_.create_function(
                FunctionName=name,
                Runtime="python3.13",
                Handler="first.handler",
                Role=self.role,
                Code={"ZipFile": self.archive},
                Layers=[self.layer],
            )

    def run_sam(self, arguments: list[str], say: Any) -> None:
        """Stands for `sam`: a deployment puts its tag on the stack, and leaves alone what is as it deployed it last.

        A build makes its folder anew.
        """
        self.sam.append(arguments[0])
        if arguments[0] == "build":
            folder = deployment.ROOT / ".aws-sam/build"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        if arguments[0] == "deploy":
            (_, self.source) = arguments[arguments.index("--tags") + 1].split("=")

    def stack(self) -> tuple[str | None, str | None]:
        """Stands for CloudFormation, which moto has not here: the stack's status, and its tag."""
        return ("UPDATE_COMPLETE", self.source) if self.source else (None, None)

    def files(self, function: str) -> dict[str, str]:
        """The code that a function has."""
        backend = lambda_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]
        with zipfile.ZipFile(io.BytesIO(backend.get_function(function).code_bytes)) as archive:
            return {name: archive.read(name).decode() for name in archive.namelist()}

    def layers(self, function: str) -> list[str]:
        found = self.lambda_.get_function_configuration(FunctionName=function).get("Layers", [])
        return [layer["Arn"].split(":layer:")[1] for layer in found]


@pytest.fixture
def cloud(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The project, deployed."""
    with mock_aws():
        cloud = Cloud()
        monkeypatch.setattr(deployment, "_sam", cloud.run_sam)
        monkeypatch.setattr(deployment, "_stack", cloud.stack)
        assert deploy(print) is True
        cloud.sam.clear()
        yield cloud


def test_only_what_has_changed_is_deployed(project: Path, cloud: Cloud) -> None:
    (project / "functions/first/__pycache__").mkdir()
    for leftover in ("__pycache__/first.pyc", ".first.py.swp", "first.py~"):
        (project / "functions/first" / leftover).touch()
    assert deploy(print) is False
    assert cloud.sam == []
    (project / "template.yaml").write_text("changed")
    assert deploy(print) is True
    assert cloud.sam == ["build", "deploy"]


def test_what_is_built_is_not_built_again_for_another_local_cloud(project: Path, cloud: Cloud) -> None:
    cloud.source = None
    assert deploy(print) is True
    assert cloud.sam == ["deploy"]
    cloud.run_sam(["build"], print)  # by hand, for AWS
    cloud.source = None
    assert deploy(print) is True
    assert cloud.sam == ["deploy", "build", "build", "deploy"]


def test_a_build_that_fails_is_made_again(project: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "template.yaml").write_text("changed")

    def failing(arguments: list[str], say: Any) -> None:
        cloud.run_sam(arguments, say)
        raise LocalCloudError("sam build failed")

    with monkeypatch.context() as patched:
        patched.setattr(deployment, "_sam", failing)
        for _ in range(2):
            with pytest.raises(LocalCloudError):
                deploy(print)
    assert cloud.sam == ["build", "build"]
    assert deploy(print) is True
    assert cloud.sam == ["build", "build", "build", "deploy"]


def test_a_functions_folder_becomes_its_code_at_once(project: Path, cloud: Cloud) -> None:
    (project / "functions/first/first.py").write_text("was = 'edited'\n")
    (project / "functions/first/texts").mkdir()
    (project / "functions/first/texts/a.txt").write_text("text")
    (project / "functions/first/.first.py.swp").write_text("an editor's")
    swap("functions/first")
    assert cloud.files(f"{STACK}-first") == {"first.py": "was = 'edited'\n", "texts/a.txt": "text"}
    assert cloud.files(f"{STACK}-second") == {"first.py": "was = 'deployed'\n"}
    assert cloud.sam == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def handle(:\n    pass\n", r'File "functions/first/first.py", line 1\n.*def handle\(:\n.*\^\nSyntaxError'),
        (b"x = 1\n  y = 2\n", r"line 2\n.*IndentationError"),
        (b"x = '\xff'\n", r"first.py|utf-8"),
        (b"x = 1\x00\n", "null bytes"),
    ],
    ids=["syntax", "indentation", "encoding", "null bytes"],
)
def test_what_does_not_compile_is_shown_and_neither_swapped_nor_deployed(
    project: Path, cloud: Cloud, content: bytes, said: str
) -> None:
    (project / "functions/first/first.py").write_bytes(content)
    for give in (lambda: swap("functions/first"), lambda: deploy(print)):
        with pytest.raises(DoesNotCompile, match=f"(?s){said}"):
            give()
    assert cloud.sam == []
    assert cloud.files(f"{STACK}-first") == {"first.py": "was = 'deployed'\n"}
    (project / "functions/first/first.py").write_text("was = 'deployed'\n")
    assert deploy(print) is False


def test_the_shared_layers_code_lies_over_the_deployed_layer_of_every_function(project: Path, cloud: Cloud) -> None:
    (project / "layers/shared/backbeat/tasks.py").write_text("was = 'edited'\n")
    swap("layers/shared")
    swap("layers/shared")
    for name in ("first", "second"):
        assert cloud.layers(f"{STACK}-{name}") == ["SharedLayer:1", f"{STACK}-edited:2"]
    assert cloud.layers("anothers") == ["SharedLayer:1"]
    backend = lambda_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]
    content = backend.layers_versions_by_arn(f"{cloud.layer.rsplit(':', 2)[0]}:{STACK}-edited:2").code_bytes
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("python/backbeat/tasks.py") == b"was = 'edited'\n"
        archive.extractall(project / "overlay")
    layer = project / "overlay/python/backbeat"
    (layer / "tasks.py").write_text("was = 'never looked at'\n")  # as is what a layer's compiled modules stand beside
    asked = "import tasks; print(tasks.was)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=layer, capture_output=True, text=True, check=True)
    assert done.stdout == "edited\n"


def test_an_edit_that_was_swapped_and_undone_is_undone_by_the_next_deployment(project: Path, cloud: Cloud) -> None:
    """`sam` would see nothing to do: the template that it deployed last names the same code."""
    before = {file: file.read_text() for file in (project / "functions").rglob("*.py")}
    for file in before:
        file.write_text("was = 'edited'\n")
    for folder in ("functions/first", "functions/second", "layers/shared"):
        swap(folder)
    for file, text in before.items():
        file.write_text(text)
    assert deploy(print) is True
    assert cloud.sam == []
    assert cloud.files(f"{STACK}-first") == {"first.py": "was = 'deployed'\n"}
    assert cloud.files(f"{STACK}-second") == {"second.py": "was = 'deployed'\n"}
    assert cloud.layers(f"{STACK}-first") == ["SharedLayer:1"]
    assert deploy(print) is False


def test_an_edit_that_was_swapped_is_deployed_by_the_next_deployment(project: Path, cloud: Cloud) -> None:
    (project / "functions/first/first.py").write_text("was = 'edited'\n")
    (project / "layers/shared/backbeat/tasks.py").write_text("was = 'edited'\n")
    swap("functions/first")
    swap("layers/shared")
    assert deploy(print) is True
    assert cloud.sam == ["build", "deploy"]
    assert cloud.layers(f"{STACK}-first") == ["SharedLayer:1"]
    assert deploy(print) is False


def test_a_function_that_was_swapped_and_then_taken_out_is_not_missed(project: Path, cloud: Cloud) -> None:
    swap("functions/first")
    (project / "functions/first/first.py").unlink()
    (project / "functions/first").rmdir()
    cloud.lambda_.delete_function(FunctionName=f"{STACK}-first")
    assert deploy(print) is True
    assert deploy(print) is False


def test_a_function_that_is_not_deployed_cannot_be_swapped(project: Path, cloud: Cloud) -> None:
    (project / "functions/third").mkdir()
    with pytest.raises(ClientError, match="ResourceNotFound"):
        swap("functions/third")
