"""What a decoder does, it does to its own process: crash, hang, hunger and faults each have their own end."""

import ctypes
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import pytest
from PIL import Image
from support import template

import sandbox
from terms import Limits, Unusable

MEGABYTES = template()["Resources"]["ProcessMediaUploadFunction"]["Properties"]["MemorySize"]


def convert(tmp_path: Path, content: bytes, kind: str, seconds: float = 60, limits: Limits | None = None) -> object:
    upload = tmp_path / "upload"
    upload.write_bytes(content)
    with sandbox.Sandbox() as box:
        return box.convert(upload, kind, tmp_path, limits or Limits(), MEGABYTES, seconds)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_picture_comes_out_of_the_process(tmp_path: Path) -> None:
    media = convert(tmp_path, photo(), "JPEG")
    assert (media.width, media.height) == (400, 300)  # type: ignore[attr-defined]
    for rendition in media.renditions:  # type: ignore[attr-defined]
        assert (tmp_path / rendition.name).stat().st_size == rendition.bytes


def test_a_refusal_comes_out_as_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"the picture has 400 x 300 pixels, more than 0\.1 million") as refusal:
        convert(tmp_path, photo(), "JPEG", limits=Limits(megapixels=0.1))
    assert refusal.value.code == "too_many_pixels"


@pytest.mark.parametrize(
    ("program", "code", "explanation"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashed", r"the PNG made its decoder crash \(SIGSEGV\)"),
        ("import signal; signal.pause()", "too_slow", "the PNG could not be finished within 1 seconds"),
    ],
)
def test_a_crash_and_a_hang_are_the_files_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: str, explanation: str
) -> None:
    monkeypatch.setattr(sandbox, "PROGRAM", tmp_path / "program.py")
    sandbox.PROGRAM.write_text(program)
    with pytest.raises(Unusable, match=explanation) as refusal:
        convert(tmp_path, photo(), "PNG", seconds=1)
    assert refusal.value.code == code


def test_a_fault_of_the_program_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PROGRAM", tmp_path / "program.py")
    sandbox.PROGRAM.write_text("raise ZeroDivisionError('a fault')")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a fault"):
        convert(tmp_path, photo(), "PNG")


@pytest.mark.parametrize(("name", "kind"), [("../400.webp", "image/webp"), ("400.webp", "text/html")])
def test_an_answer_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    rendition = {"name": name, "role": "picture", "content_type": kind, "width": 1, "height": 1, "bytes": 1}
    media = {"format": "PNG", "width": 1, "height": 1, "blurhash": "", "renditions": [rendition], "seconds": None}
    monkeypatch.setattr(sandbox, "PROGRAM", tmp_path / "program.py")
    sandbox.PROGRAM.write_text(f"print({json.dumps({'media': media})!r})")
    with pytest.raises(RuntimeError, match=f"the conversion made '{name}' of type '{kind}'"):
        convert(tmp_path, photo(), "PNG")


def test_hunger_is_refused_before_the_function_is_killed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_OUTSIDE", MEGABYTES * 1024 * 1024 - 300_000_000)
    with pytest.raises(Unusable, match="the PNG takes more memory than there is") as refusal:
        convert(tmp_path, png(10_000, 10_000, channels=4), "PNG")
    assert refusal.value.code == "too_much_memory"


def test_the_process_has_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setattr(sandbox, "PROGRAM", tmp_path / "program.py")
    sandbox.PROGRAM.write_text("import os; raise SystemExit(str([name for name in os.environ if 'AWS' in name]))")
    with pytest.raises(RuntimeError, match=r"the conversion failed: \[\]"):
        convert(tmp_path, photo(), "PNG")


WATCH = """
import ctypes, os, socket, subprocess, sys
from confinement import confine
if "open" not in sys.argv:
    confine()

def found(look):
    try:
        return look()
    except OSError as error:
        return type(error).__name__

parent = os.getppid()
print("secret" in str(found(lambda: open(f"/proc/{parent}/environ").read())), end=" ")
print(found(lambda: open(f"/proc/{parent}/mem", "rb").close()), end=" ")
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    print(found(lambda: socket.socket(family).close()), end=" ")
print(found(lambda: subprocess.run(["true"], check=True) and None), end=" ")
if "open" not in sys.argv:
    print(found(os.fork), end=" ")
    thread = __import__("threading").Thread(target=lambda: print(found(socket.socket)))
    thread.start()
    thread.join()
"""
"""What a decoder's process sees of its parent's environment and memory, of the network and of other programs."""
PARENT = """
import os, subprocess, sys
from pathlib import Path
import sandbox
sandbox.PROGRAM = Path(sys.argv[1])
os.environ["AWS_SECRET_ACCESS_KEY"] = "secret"
before = subprocess.run([sys.executable, sys.argv[1], "open"], capture_output=True, text=True, check=True).stdout
with sandbox.Sandbox() as box:
    inside = box._process.communicate()
print(before, inside[0].decode(), inside[1].decode(), sep="\\n")
"""
DROP_FROM_BOUNDS, PRIVILEGES = 24, 41
"""An option of prctl(2), and how many privileges there are (capabilities(7))."""


@pytest.mark.skipif(sys.platform != "linux", reason="what is taken from the process is taken by Linux")
def test_the_process_has_no_network_and_cannot_read_its_parent(tmp_path: Path) -> None:
    """As on Lambda, where a function has no privileges; root's, which may read any process, are taken from it here."""
    watch = tmp_path / "watch.py"
    watch.write_text(WATCH)

    def drop() -> None:
        for privilege in range(PRIVILEGES if os.getuid() == 0 else 0):
            assert ctypes.CDLL(None).prctl(DROP_FROM_BOUNDS, privilege, 0, 0, 0) == 0

    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(watch)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "AWS_SECRET_ACCESS_KEY": "secret"},
        preexec_fn=drop,
        capture_output=True,
        text=True,
        check=True,
    )
    before, inside, errors, *_ = done.stdout.splitlines()
    assert before.split() == ["True", "None", "None", "None", "None", "None"]
    assert (inside.split(), errors) == (["False", *["PermissionError"] * 7], "")


def test_a_kernel_that_takes_nothing_is_reported_and_pictures_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "platform.py").write_text("def machine(): return 'abacus'")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert convert(tmp_path, photo(), "JPEG").width == 400  # type: ignore[attr-defined]
    assert "the decoders' process keeps its network: [Errno 38] not known for linux on abacus" in caplog.text


def test_a_video_comes_out_of_the_process(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 48
        target.mux([*stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48), "red"))), *stream.encode()])
    media = convert(tmp_path, buffer.getvalue(), "MP4 video")
    assert media.renditions[-1].name == "video.mp4"  # type: ignore[attr-defined]


def test_a_process_that_is_not_needed_is_ended() -> None:
    with sandbox.Sandbox() as box:
        process = box._process
    assert process.returncode == -9


def png(width: int, height: int, channels: int) -> bytes:
    """A PNG of the given size, written without holding its pixels."""
    packed = zlib.compressobj(1)
    rows = [packed.compress(b"\0" + bytes((row % 256,)) * width * channels) for row in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"".join(rows) + packed.flush()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_the_largest_picture_fits_into_the_functions_memory(tmp_path: Path) -> None:
    """Measured: 100 megapixels with transparency, which take the most, in a fresh process."""
    (tmp_path / "upload").write_bytes(png(10_000, 10_000, channels=4))
    program = (
        "import sys; from pathlib import Path; from renditions import *; from terms import *;"
        "make_renditions(Path(sys.argv[1], 'upload'), 'PNG', Path(sys.argv[1]), Limits())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert (tmp_path / "1600.webp").exists()
    assert usage.ru_maxrss * 1024 < MEGABYTES * 1024 * 1024 - sandbox.MEMORY_OUTSIDE
