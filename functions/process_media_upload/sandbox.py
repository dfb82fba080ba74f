"""A process of its own for the decoders: what strangers send may crash, hang or fill it, and nothing else.

The parent starts it early (`Sandbox`), so that its imports are over when the upload has been fetched. It has limits
on memory, file size and time, no network, and none of the function's credentials: they are not in its environment, and
the parent's is hidden from it.
"""

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from confinement import confine, hide_memory
from kinds import PICTURES, VIDEOS
from terms import Limits, Media, Rendition, Unusable

PROGRAM = Path(__file__)
MEMORY_OUTSIDE = 400_000_000
"""Bytes of the function's memory that are left to the function itself."""
TYPES = {".webp": "image/webp", ".jpg": "image/jpeg", ".mp4": "video/mp4"}
"""What renditions there are."""
LARGEST_FILE = 600_000_000
"""Bytes that the process may write to one file."""


class Sandbox:
    """A process that converts one upload; leaving the `with` block ends it."""

    def __init__(self) -> None:
        hide_memory()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Each of glibc's arenas would take address space, which is what is limited.
            env={**inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "2"},
        )

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def convert(self, upload: Path, kind: str, folder: Path, limits: Limits, memory_mb: int, seconds: float) -> Media:
        """Make the renditions of an upload.

        Args:
            upload: The upload.
            kind: Its kind, as `kinds.kind_of` tells it.
            folder: Where the renditions are written.
            limits: What the upload may ask for.
            memory_mb: The function's memory, in mebibytes.
            seconds: How long it may take.

        Raises:
            Unusable: The file can never become renditions, or not within the time and memory there are.
            RuntimeError: The conversion itself failed: a fault of this program, not of the file.
        """
        request = {
            "upload": str(upload),
            "kind": kind,
            "folder": str(folder),
            "limits": asdict(limits),
            "memory": memory_mb * 1024 * 1024 - MEMORY_OUTSIDE,
            "seconds": seconds,
        }
        try:
            output, errors = self._process.communicate(json.dumps(request).encode(), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise Unusable("too_slow", f"the {kind} could not be finished within {seconds:.0f} seconds") from error
        code = self._process.returncode
        if code < 0:
            raise Unusable("crashed", f"the {kind} made its decoder crash ({signal.Signals(-code).name})")
        if code:
            raise RuntimeError(f"the conversion failed: {errors.decode(errors='replace').strip()[-800:]}")
        answer = json.loads(output)
        if refused := answer.get("unconfined"):
            logging.getLogger(__name__).warning("the decoders' process keeps its network: %s", refused)
        if "unusable" in answer:
            raise Unusable(*answer["unusable"])
        made = answer["media"]
        renditions = tuple(Rendition(**rendition) for rendition in made["renditions"])
        for rendition in renditions:  # what it says is no more to be trusted than the upload
            if TYPES.get(Path(rendition.name).suffix) != rendition.content_type or "/" in rendition.name:
                raise RuntimeError(f"the conversion made {rendition.name!r} of type {rendition.content_type!r}")
        return Media(**{**made, "renditions": renditions})


def _convert(request: dict[str, Any]) -> Media:
    """Do, inside the process, what the parent asks for."""
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    upload, kind, folder = Path(request["upload"]), request["kind"], Path(request["folder"])
    limits = Limits(**request["limits"])
    if kind in PICTURES:
        from renditions import make_renditions  # imported by now: see below

        return make_renditions(upload, kind, folder, limits)
    if kind in VIDEOS:
        from video import make_video  # only here, as FFmpeg's libraries take a while to load

        return make_video(upload, kind, folder, limits)
    raise ValueError(f"nothing is made of {kind}")


if __name__ == "__main__":
    import renditions  # noqa: F401 - at once, while the upload is still being fetched

    reply: dict[str, Any] = {}
    try:
        confine()
    except OSError as refusal:
        reply["unconfined"] = str(refusal)
    try:
        reply["media"] = asdict(_convert(json.load(sys.stdin)))
    except Unusable as unusable:
        reply["unusable"] = unusable.code, str(unusable)
    sys.stdout.write(json.dumps(reply))
