"""How fast pictures become renditions, beside what others do: `make bench-media`.

Every run is a fresh process: it reads a photo, makes the same four renditions (1600, 800 and 320 px, and a square of
150 px) as JPEG (quality 85) or WebP (80), and is timed from the file's bytes to the files' bytes, without start and
imports. The runs of all programs alternate, so that a busy moment meets all of them; the medians are reported.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
QUALITY = {"jpeg": 85, "webp": 80}
SIZES = (1600, 800, 320)
LANCZOS = Image.Resampling.LANCZOS
PHOTOS = {"12 MP JPEG": ("jpg", 4000, 3000), "24 MP JPEG": ("jpg", 6000, 4000), "12 MP PNG": ("png", 4000, 3000)}
PROGRAMS = (
    "ours",
    "Pillow, naive",
    "sharp, independent",
    "sharp, cascade",
    "pyvips, independent",
    "pyvips, cascade",
)
Files = dict[str, bytes]


def ours(photo: Path, form: str) -> Callable[[], Files]:
    sys.path.insert(0, str(ROOT / "functions" / "process_media_upload"))
    import renditions
    from terms import Limits

    renditions.ENCODERS = (renditions._jpeg,) if form == "jpeg" else (renditions._webp,)
    renditions._placeholder = lambda image: ""  # the others make none
    kind = "PNG" if photo.suffix == ".png" else "JPEG"

    def run() -> Files:
        with tempfile.TemporaryDirectory() as folder:
            made = renditions.make_renditions(photo, kind, Path(folder), Limits())
            return {Path(r.name).stem: Path(folder, r.name).read_bytes() for r in made.renditions}

    return run


def naive(photo: Path, form: str) -> Callable[[], Files]:
    """The photo opened in full and made a thumbnail of, each time anew."""
    Image.init()  # imports are not timed

    def encoded(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, form, quality=QUALITY[form])
        return buffer.getvalue()

    def run() -> Files:
        files = {}
        for size in SIZES:
            image = Image.open(photo)
            image.load()  # or thumbnail() would decode at a fraction, which is not the naive way
            image = ImageOps.exif_transpose(image)
            image.thumbnail((size, size), LANCZOS, reducing_gap=None)
            files[str(size)] = encoded(image)
        image = ImageOps.exif_transpose(Image.open(photo))
        files["square"] = encoded(ImageOps.fit(image, (150, 150), LANCZOS))
        return files

    return run


def vips(photo: Path, form: str, *, cascade: bool) -> Callable[[], Files]:
    import pyvips

    suffix = f".{form}[Q={QUALITY[form]}]"

    def run() -> Files:
        content = photo.read_bytes()
        if not cascade:
            images = {str(s): pyvips.Image.thumbnail_buffer(content, s, height=s, size="down") for s in SIZES}
            images["square"] = pyvips.Image.thumbnail_buffer(content, 150, height=150, crop="centre")
        else:
            large = pyvips.Image.thumbnail_buffer(content, 1600, height=1600, size="down").copy_memory()
            images = {str(s): large.thumbnail_image(s, height=s, size="down") if s < 1600 else large for s in SIZES}
            images["square"] = large.thumbnail_image(150, height=150, crop="centre")
        return {name: image.write_to_buffer(suffix) for name, image in images.items()}

    return run


def peak_memory() -> float:
    """This program's own peak, in megabytes; `ru_maxrss` would count what the parent held when it forked."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def one_run(program: str, photo: Path, form: str, folder: Path) -> None:
    """In the fresh process: run once, write the files, print the figures."""
    match program:
        case "ours":
            run = ours(photo, form)
        case "Pillow, naive":
            run = naive(photo, form)
        case _:
            run = vips(photo, form, cascade="cascade" in program)
    started, worked = time.perf_counter(), time.process_time()
    files = run()
    ms, cpu = (time.perf_counter() - started) * 1000, (time.process_time() - worked) * 1000
    for name, data in files.items():
        (folder / f"{name}.{form}").write_bytes(data)
    print(json.dumps({"ms": ms, "cpu": cpu, "mb": peak_memory()}))  # noqa: T201


def fresh_run(program: str, photo: Path, form: str, cores: int, folder: Path) -> dict[str, float]:
    if program.startswith("sharp"):
        command = ["node", str(HERE / "sharp.mjs"), program.split(", ")[1], str(photo), form, str(folder)]
    else:
        command = [sys.executable, __file__, program, str(photo), form, str(folder)]
    allowed = set(sorted(os.sched_getaffinity(0))[:cores])
    environment = {**os.environ, "BENCH_MODULES": os.environ["BENCH_MODULES"], "VIPS_CONCURRENCY": str(cores)}
    done = subprocess.run(
        command,
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def write_photo(path: Path, width: int, height: int) -> None:
    """A photo of a sort: detail at every scale, as nature has it, and the grain of a sensor."""
    picture = Image.new("RGB", (width, height), (128, 128, 128))
    for step in range(1, 9):
        small = max(2, width >> step), max(2, height >> step)
        bands = [Image.effect_noise(small, 64).resize((width, height), Image.Resampling.BICUBIC) for _ in range(3)]
        picture = Image.blend(picture, Image.merge("RGB", bands), step / 12)
    grain = Image.merge("RGB", [Image.effect_noise((width, height), 24)] * 3)
    Image.blend(picture, grain, 0.06).save(path, quality=90)


def similarity(picture: Image.Image, reference: Image.Image) -> float:
    """SSIM of brightness (Wang et al. 2004)."""
    import numpy as np
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            np.asarray(reference.convert("L"), float),
            np.asarray(picture.convert("L"), float),
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def worst_similarity(whole: Image.Image, folder: Path, form: str) -> tuple[float, float]:
    """The lowest SSIM among a program's files, to what Lanczos makes of the photo at its full resolution.

    Beside it stands the SSIM that the reference itself has once it is saved in the same format and quality: what the
    format takes is no program's fault, and no program can give it back.
    """
    found = []
    for name in (*map(str, SIZES), "square"):
        picture = Image.open(folder / f"{name}.{form}")
        # To the size that was made: one program rounds a height up, another down.
        size = picture.size
        reference = ImageOps.fit(whole, size, LANCZOS) if name == "square" else whole.resize(size, LANCZOS)
        saved = io.BytesIO()
        reference.save(saved, form, quality=QUALITY[form])
        found.append((similarity(picture, reference), similarity(Image.open(saved), reference)))
    return min(found)


def main(rounds: int) -> None:
    import statistics  # only here, as it takes memory, which the runs measure

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for photo_name, (extension, width, height) in PHOTOS.items():
            photo = Path(folder, f"photo.{extension}")
            write_photo(photo, width, height)
            whole = Image.open(photo).convert("RGB")
            for form in QUALITY:
                for cores in (1, 2):
                    found: dict[str, list[dict[str, float]]] = {program: [] for program in PROGRAMS}
                    for _ in range(rounds):
                        for program in PROGRAMS:
                            found[program].append(fresh_run(program, photo, form, cores, Path(folder)))
                    ours_ms = statistics.median(run["ms"] for run in found["ours"])
                    print(f"\n{photo_name} -> 4 {form}, {cores} core{'s' * (cores > 1)}")  # noqa: T201
                    for program in PROGRAMS:
                        fresh_run(program, photo, form, cores, Path(folder))
                        ssim, most = worst_similarity(whole, Path(folder), form)
                        ms = statistics.median(run["ms"] for run in found[program])
                        mb = statistics.median(run["mb"] for run in found[program])
                        cpu = statistics.median(run["cpu"] for run in found[program])
                        row = {
                            "ms": round(ms),
                            "cpu_ms": round(cpu),
                            "ssim": round(ssim, 4),
                            "ssim_at_most": round(most, 4),
                            "ours_x_faster": round(ms / ours_ms, 2),
                            "mb": round(mb),
                        }
                        rows.append({"photo": photo_name, "form": form, "cores": cores, "program": program, **row})
                        times = f"{ms:6.0f} ms  {ms / ours_ms:5.2f} x ours  {cpu:6.0f} ms CPU"
                        quality = f"SSIM {ssim:.4f} of {most:.4f}"
                        print(f"  {program:20} {times}  {mb:4.0f} MB  {quality}", flush=True)  # noqa: T201
    output = ROOT / ".backbeat" / "bench" / "media.json"
    output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        one_run(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
