"""From an uploaded picture to what is served of it. No AWS here: a file goes in, files and a `Media` come out.

The recipe is the fast one: a JPEG is decoded at the smallest scale that is still large enough, resized once to the
largest rendition, and only that small picture is turned upright and converted to sRGB; the others are made of it.
"""

import functools
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard, cast

import blurhash
from PIL import (
    AvifImagePlugin,  # noqa: F401 - the plugins that Pillow would otherwise look for among all it has
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    PngImagePlugin,
    WebPImagePlugin,  # noqa: F401
)
from PIL.TiffImagePlugin import TiffImageFile

import bmp
import colours
import heif
import png
import tiff
from terms import Limits, Media, Rendition, Unusable

SIZES = (1600, 800, 320)
"""The renditions' longest sides, in pixels."""
SQUARE = 150
"""The side of the square cut from the middle, in pixels."""
ANIMATION = 800
"""The longest side of an animation, in pixels."""
JPEG_QUALITY = 85
WEBP_QUALITY = 80
BAND = 32
"""How many rows of a rendition are made at once."""

HAMMING, LANCZOS = Image.Resampling.HAMMING, Image.Resampling.LANCZOS
Image.preinit()  # Pillow would import its commonest plugins, some 60 ms, when the first picture is opened
Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and checked before anything is decoded


Info = dict[str | tuple[int, int], Any]
"""What Pillow keeps of a picture beside its pixels, as in `image.info`."""


def make_renditions(upload: Path, kind: str, folder: Path, limits: Limits) -> Media:
    """Make a picture's renditions.

    The whole picture comes at most at 1600, 800 and 320 px on its longest side, never larger than it is; beside them
    stands a 150 px square from its middle. Each is a WebP and a JPEG in sRGB, upright, without any metadata;
    the WebP keeps transparency, the JPEG shows it on white. An animation also comes as an animated WebP of at most
    800 px.

    Args:
        upload: The upload.
        kind: Its kind, one of `kinds.PICTURES`.
        folder: Where the renditions are written.
        limits: What it may ask for.

    Raises:
        Unusable: The file is empty, too large or broken.
    """
    limits.check_size(upload.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, mostly, which nobody gets to see
            with upload.open("rb") as file:
                return _make_as_browsers_do(file, kind, folder, limits)
    except Unusable:
        raise
    except MemoryError as error:
        raise Unusable("too_much_memory", f"the {kind} takes more memory than there is to decode") from error
    except Exception as error:  # whatever a decoder raises, it says of the file
        raise refusal(kind, str(error).strip()) from error


def refusal(kind: str, words: str) -> Unusable:
    """Why a file cannot be read: it is of a sort that decoders here do not know, or else it is broken.

    Args:
        kind: Its kind.
        words: What its decoder says.
    """
    if _UNKNOWN.search(words):
        return Unusable("unsupported", f"the file is a {kind} of a sort that is not read here: {words}")
    if " " not in words or words == "not identified by this driver":  # no sentence, such as the key of a KeyError
        return Unusable("broken", f"the file begins like {kind}, but holds no picture that can be read")
    return Unusable("broken", f"the file is a broken {kind}: {words}")


_UNKNOWN = re.compile(
    r"unsupported|unknown|not (?:yet )?(?:supported|implemented|configured)|not available", re.IGNORECASE
)
"""How decoders say that they do not know what they met."""


def write_views(image: Image.Image, folder: Path) -> tuple[str, list[Rendition]]:
    """Write the renditions of a picture that is upright and in sRGB; return its placeholder and them."""
    large = _first_scaled(image, was=image.size)
    return _write(large, _square_of_long(large, image), folder)


_ATTEMPTS = {
    "PNG": ("as it is", "mended", "cut"),
    "AVIF": ("as it is", "mended"),
    "GIF": ("as it is", "cut"),
    "BMP": ("as it is", "cut"),
}
"""In what ways a damaged picture may be read, of those that browsers show all the same."""
_MENDED = {"PNG": png.mended, "AVIF": heif.with_merged_associations}


def _make_as_browsers_do(file: BinaryIO, kind: str, folder: Path, limits: Limits) -> Media:
    """Make a picture's renditions; of a damaged PNG, GIF or BMP, by what browsers would make of it."""
    damage: Exception | None = None
    for attempt in _ATTEMPTS.get(kind, ("as it is",)):
        try:
            if attempt != "as it is" and kind in _MENDED:
                file.seek(0)
                file = io.BytesIO(_MENDED[kind](file.read()))
            ImageFile.LOAD_TRUNCATED_IMAGES = attempt == "cut"
            return _make(file, kind, folder, limits, is_cut=attempt == "cut")
        except (Unusable, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises
            damage = damage or error
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    assert damage is not None
    raise damage


def _make(file: BinaryIO, kind: str, folder: Path, limits: Limits, *, is_cut: bool = False) -> Media:
    file.seek(0)
    image = (
        bmp.decoded(file.read(), limits.check_pixels, is_cut=is_cut) if kind == "BMP" else _opened(file, kind, limits)
    )
    frames = _frames_of(image, limits) if kind in ("GIF", "PNG", "WEBP", "AVIF") else 1
    width, height = image.size
    limits.check_pixels(width, height, frames)
    if isinstance(image, TiffImageFile) and tiff.is_raw(image):
        raise Unusable(
            "foreign", "the file is a camera's raw picture, such as DNG or NEF, which is to be developed first"
        )
    if getattr(image, "default_image", False):  # of an APNG, and shown only where animations are not known
        with suppress(Exception):
            image.seek(1)
    told = _told(image, file, kind)
    clear = image.info.get("transparency")
    image.info |= told
    if kind == "JPEG":
        decoded = _decoded_jpeg(image, file)
    elif isinstance(image, TiffImageFile):
        decoded = _decoded(tiff.pixels_of(image, file))
        if tiff.is_negative(image):
            decoded = ImageChops.invert(decoded)
    elif clear and frames == 1 and _has_colours_of_16_bits(image):
        decoded = _decoded_with_clear(image, file, clear)
    else:
        decoded = _decoded(image)
    if kind == "GIF":
        decoded = _painted(decoded, image, Image.new("L", image.size))
    if is_cut and _plain_rows(decoded) > 0.1 * decoded.height:
        raise OSError("too much of it is missing")
    decoded.info["icc_profile"] = image.info.get("icc_profile")
    orientation = _orientation(image)
    if orientation >= 5:
        width, height = height, width
    large = _first_scaled(decoded, was=(width, height))
    square = _square_of_long(large, decoded)
    if frames == 1:
        image.close()  # its pixels are the most that there is in memory, and have served
    del decoded
    large = _upright_srgb(large, orientation)
    square = square and _upright_srgb(square, orientation)
    placeholder, renditions = _write(large, square, folder)
    if frames > 1:
        renditions += _write_animation(image, frames, orientation, told, folder, limits)
    return Media(kind, width, height, placeholder, tuple(renditions))


def _opened(file: BinaryIO, kind: str, limits: Limits) -> Image.Image:
    """A picture that has not been decoded yet. By its plugin, as `Image.open` keeps to itself what a plugin says."""
    if kind == "HEIF":
        import pillow_heif  # only here, as it takes a while

        pillow_heif.register_heif_opener(thumbnails=False)
    open_it, _ = Image.OPEN[kind]
    try:
        image = open_it(_inflated(file) if kind == "PNG" and not isinstance(file, io.BytesIO) else file, "")
    except SyntaxError:
        if kind == "TIFF" and (floats := tiff.of_floats(file, limits.check_pixels)):
            return floats
        raise
    if kind == "HEIF":
        file.seek(0)
        heif.check_whole(file.read())
        file.seek(0)
    return image


def _inflated(file: BinaryIO) -> BinaryIO:
    """A PNG that is read in half the time, if it is a still. One that has been mended is left to the decoder alone."""
    content = file.read()
    file.seek(0)
    return cast(BinaryIO, png.Inflated(content)) if png.is_still(content) else file


def _frames_of(image: Image.Image, limits: Limits) -> int:
    """How many frames a picture has; of one that breaks off, how many begin, counted up to one more than may be."""
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # noqa: BLE001 - whatever a decoder raises
        frames = 1
        with suppress(Exception):
            while frames <= limits.frames:
                image.seek(frames)
                frames += 1
        image.seek(0)
        return frames


def _told(image: Image.Image, file: BinaryIO, kind: str) -> Info:
    """What Pillow should know of a picture and does not, or tells otherwise, by its names in `image.info`."""
    told: Info = {"xmp": b""}  # Pillow would turn a TIFF as this says; viewers do not
    has_profile = bool(image.info.get("icc_profile"))
    if kind == "PNG":
        file.seek(0)
        start = file.read(1 << 20)
        if (profile := png.profile_of(start, has_profile=has_profile)) is not None:
            told["icc_profile"] = profile
        clear, depth = image.info.get("transparency"), png.depth_of(start)
        if image.mode == "L" and clear is not None:
            told["transparency"] = clear * 255 // ((1 << depth) - 1)
        elif image.mode == "RGB" and clear and depth == 16:
            told["transparency"] = tuple(value >> 8 for value in clear)
    elif kind in ("AVIF", "HEIF") and not has_profile and (numbers := colours.colours_of(file)):
        told["icc_profile"] = colours.profile_of(*numbers)
    return told


def _plain_rows(image: Image.Image) -> int:
    """How many of a picture's rows are of one colour, as those that a decoder could not read are."""
    rgb = image.convert("RGB")
    _, has_more = ImageChops.difference(rgb, ImageChops.offset(rgb, 1, 0)).getprojection()
    return has_more.count(0)


def _is_plain_below(image: Image.Image) -> bool:
    """Whether the last tenth of a picture is of one colour, as what a decoder could not read is."""
    last_tenth = image.crop((0, int(image.height * 0.9), *image.size))
    return all(band.getextrema() == (band.getpixel((0, 0)),) * 2 for band in last_tenth.split())


def _decoded(image: Image.Image) -> Image.Image:
    """A picture's pixels, in a mode that can be resized: L, LA, RGB, RGBA or CMYK."""
    image.load()
    match image.mode:
        case "1" | "L" | "RGB" if "transparency" in image.info:  # one colour, or one grey, stands for "nothing"
            return image.convert("RGBA")
        case "I;16" if "transparency" in image.info:
            low, high = Image.frombytes("LA", image.size, image.tobytes()).split()
            clear = image.info["transparency"]
            return Image.merge("LA", (high, _other_than((clear & 255, clear >> 8), (low, high))))
        case "L" | "LA" | "RGB" | "RGBA" | "CMYK":
            return image
        case "P" | "PA":
            return image.convert("RGBA" if image.has_transparency_data else "RGB")
        case "1":
            return image.convert("L")
        case "I;16" | "I;16L" | "I;16B" | "I" | "F":
            return _grey(image)
        case "La" | "RGBa":
            return image.convert(image.mode.upper())
        case _:
            return image.convert("RGB")


def _has_colours_of_16_bits(image: Image.Image) -> TypeGuard[PngImagePlugin.PngImageFile]:
    return isinstance(image, PngImagePlugin.PngImageFile) and image.tile[0].args == "RGB;16B"


def _decoded_with_clear(image: PngImagePlugin.PngImageFile, file: BinaryIO, clear: Sequence[int]) -> Image.Image:
    """The pixels of a PNG of 16 bits a sample, of which Pillow keeps 8, where one colour stands for "nothing"."""
    del image.info["transparency"]
    decoded = _decoded(image)
    file.seek(0)
    low = PngImagePlugin.PngImageFile(file)
    low.tile = [low.tile[0]._replace(args="RGB;16L")]  # the other byte of each sample
    values = [value >> 8 for value in clear] + [value & 255 for value in clear]
    decoded.putalpha(_other_than(values, (*decoded.split(), *low.split())))
    return decoded


def _other_than(values: Sequence[int], bands: Sequence[Image.Image]) -> Image.Image:
    """Opaque (255) where any of the bands has another value than its own of these, clear (0) where none has."""
    masks = (band.point([255 * (v != value) for v in range(256)]) for value, band in zip(values, bands, strict=True))
    return functools.reduce(ImageChops.lighter, masks)


def _painted(frame: Image.Image, image: Image.Image, painted: Image.Image) -> Image.Image:
    """A decoded frame; of a GIF, transparent where none of its frames has painted yet, as browsers show it.

    Args:
        frame: The frame.
        image: The picture, at that frame.
        painted: What the frames before have painted (255), kept up to date.
    """
    if not isinstance(image, GifImagePlugin.GifImageFile) or image.dispose_extent is None:
        return frame
    painted.paste(255, image.dispose_extent)
    if painted.getextrema() != (255, 255):
        frame = frame.convert("RGBA")
        frame.putalpha(ImageChops.darker(frame.getchannel("A"), painted))
    if image.disposal_method == 2:  # cleared before the next frame
        painted.paste(0, image.dispose_extent)
    return frame


def _decoded_jpeg(image: Image.Image, file: BinaryIO) -> Image.Image:
    """A JPEG's pixels, perhaps at a fraction of its size; of one cut short at its end, as far as it goes."""
    width, height = image.size
    # draft() stays at or above the size asked for, in both directions: it must have the picture's own proportions.
    scale = min(1.0, max(SIZES[0] / max(width, height), SQUARE / min(width, height)))
    size = math.ceil(width * scale), math.ceil(height * scale)
    image.draft(None, size)
    try:
        return _decoded(image)
    except OSError:
        # With an end put to it, the decoder fills up what is missing with grey, as browsers do.
        file.seek(0)
        image = Image.open(io.BytesIO(_whole_segments(file.read()) + b"\xff\xd9"), formats=["JPEG"])
        image.draft(None, size)
        decoded = _decoded(image)
        if _is_plain_below(decoded):
            raise
        return decoded


def _whole_segments(content: bytes) -> bytes:
    """A JPEG without a segment that is cut off, as is one of the tables between the scans of a progressive one."""
    at = 2
    while (at := content.find(b"\xff", at)) >= 0 and at + 4 <= len(content):
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker <= 1 or 0xD0 <= marker <= 0xD9:  # within a scan, or without a content
            at += 2
        else:
            after = at + 2 + int.from_bytes(content[at + 2 : at + 4])
            if after > len(content):
                return content[:at]
            at = after
    return content[:at] if at >= 0 else content


def _grey(image: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits as one of 8: 16 bits by their range, any other by the values it holds."""
    is_16_bit = image.mode.startswith("I;16")
    image = image.convert("I") if is_16_bit else image  # of those with the high byte first, Pillow tells no extrema
    lowest, highest = image.getextrema()
    assert isinstance(lowest, int | float)
    assert isinstance(highest, int | float)
    if is_16_bit or (image.mode == "I" and lowest >= 0 and 255 < highest <= 65535):
        lowest, highest = 0, 65535
    elif image.mode == "I" and lowest >= 0 and highest <= 255:
        lowest, highest = 0, 255
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("it holds values that are no numbers")
    scale = 255 / ((highest - lowest) or 1)
    return image.convert("F").point(lambda value: value * scale + (0.5 - lowest * scale)).convert("L")


def _fit(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size with a longest side of at most `longest`, in the same proportions."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _first_scaled(image: Image.Image, was: tuple[int, int]) -> Image.Image:
    """A picture made as small as the largest rendition.

    Most of the way down from a large one goes by whole steps: in the JPEG decoder, or by averaging (`reducing_gap`).
    After that a Hamming filter is as good as Lanczos (SSIM 0.995 and 0.996) in half the time.
    """
    size = _fit(image.size, SIZES[0])
    if max(was) < 2 * SIZES[0] or image.size == size:
        return _scaled(image, size)
    mode, info = image.mode, image.info
    if mode in _PREMULTIPLIED:  # or resize() would convert the whole picture for each band
        image = image.convert(_PREMULTIPLIED[mode])
    large = Image.new(image.mode, size, color=None)

    def make_band(band: tuple[int, int]) -> None:
        top, end = band
        box = (0, top * image.height / large.height, image.width, end * image.height / large.height)
        strip = image.resize((large.width, end - top), HAMMING, box, reducing_gap=1.2)
        large.paste(strip, (0, top))

    # In bands, which two threads make at once, and which need little memory for what is scaled in one direction only.
    bands = [(top, min(top + BAND, large.height)) for top in range(0, large.height, BAND)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for _ in pool.map(make_band, bands):
            pass
    if large.mode != mode:
        large = large.convert(mode)
    large.info = info
    return large


_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
"""Modes with transparency, and those in which pixels that cannot be seen count for nothing when they are averaged."""


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture made smaller, or a copy."""
    if image.size == size:
        return image.copy()
    if (math.ceil(image.width / 2), math.ceil(image.height / 2)) == size:
        return image.reduce(2)
    return image.resize(size, _filter(image.width / size[0]))


def _filter(times: float) -> Image.Resampling:
    """The filter for a picture made so many times smaller: from half, Hamming comes to the same in half the time."""
    return HAMMING if times >= 2 else LANCZOS


def _square_of_long(large: Image.Image, whole: Image.Image) -> Image.Image | None:
    """The square of a picture so long and narrow that its largest rendition is lower; None for any other."""
    return _square(whole) if min(large.size) < SQUARE else None


def _square(image: Image.Image) -> Image.Image:
    """The square from a picture's middle, 150 px or, where it is smaller, as large as there is."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    side_made = min(side, SQUARE)
    return image.resize((side_made, side_made), _filter(side / side_made), (left, top, left + side, top + side))


def _orientation(image: Image.Image) -> int:
    """A picture's EXIF orientation, 1 to 8; 1 where it has none, or none that can be read.

    Not by `getexif`, which would heed XMP and old text in PNGs as well, and no viewer does. A TIFF is turned already.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        orientation = exif.get(0x0112, 1)
    except Exception:  # noqa: BLE001 - a decoder's complaint about metadata is no reason to refuse the picture
        return 1
    return orientation if orientation in range(1, 9) else 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture is turned upright, by its EXIF orientation (CIPA DC-008, "Orientation")."""


def _upright_srgb(image: Image.Image, orientation: int) -> Image.Image:
    """A picture turned upright, in RGB or RGBA and in sRGB, with nothing but its pixels."""
    profile = image.info.get("icc_profile")
    if orientation != 1:
        image = image.transpose(_TURNS[orientation])
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha:
        image = image.convert(image.mode[:-1])
    image = _srgb(image, profile)
    if alpha and alpha.getextrema() != (255, 255):
        image.putalpha(alpha)
    image.info = {}
    return image


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture's colours converted to sRGB; a profile that cannot be read, or is for other colours, is ignored."""
    if profile:
        if image.mode == "L" and profile[16:20] == b"RGB ":
            image = image.convert("RGB")
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
        else:
            assert converted is not None
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


_SRGB = ImageCms.createProfile("sRGB")


def _write(large: Image.Image, square: Image.Image | None, folder: Path) -> tuple[str, list[Rendition]]:
    """Write the renditions of a picture of at most the largest size; its square is cut from one of them, or given."""
    views = {str(max(large.size)): large}
    smallest = large
    for size in SIZES:
        if size < max(smallest.size):
            smallest = _scaled(smallest, _fit(large.size, size))
            views[str(size)] = smallest
    # From one with pixels to spare: cutting it from the smallest would blur it.
    roomy = next((view for view in reversed(views.values()) if min(view.size) >= 2 * SQUARE), large)
    views["square"] = square or _square(roomy)
    with ThreadPoolExecutor(max_workers=2) as pool:  # encoders let go of the interpreter's lock
        files = [pool.submit(write, name, view, folder) for name, view in views.items() for write in ENCODERS]
        return _placeholder(smallest), [file.result() for file in files]


def _webp(name: str, image: Image.Image, folder: Path) -> Rendition:
    path = folder / f"{name}.webp"
    image.save(path, "WEBP", quality=WEBP_QUALITY, method=4)
    return _rendition(path, "square" if name == "square" else "picture", "image/webp", image.size)


def _jpeg(name: str, image: Image.Image, folder: Path) -> Rendition:
    path = folder / f"{name}.jpg"
    # Of a copy: save() keeps its settings on the image, which another thread may be saving as a WebP.
    _on_white(image).save(path, "JPEG", quality=JPEG_QUALITY)
    return _rendition(path, "square" if name == "square" else "picture", "image/jpeg", image.size)


ENCODERS = (_webp, _jpeg)


def _rendition(path: Path, role: str, content_type: str, size: tuple[int, int]) -> Rendition:
    return Rendition(path.name, role, content_type, *size, path.stat().st_size)


def _write_animation(
    image: Image.Image, frames: int, orientation: int, told: Info, folder: Path, limits: Limits
) -> list[Rendition]:
    """Write an animation as an animated WebP, with its own timing; of one that breaks off, as far as it goes."""
    durations: list[int] = []
    start = 1 if getattr(image, "default_image", False) else 0
    painted = Image.new("L", image.size)

    def pictures() -> Iterator[Image.Image]:
        # An APNG may show a still, which is no part of the animation, where animations are not known.
        for number in range(start, frames):
            try:
                image.seek(number)
                limits.check_pixels(*image.size)  # a frame may be larger than its file's header says
                image.info |= told
                frame = _painted(_decoded(image), image, painted)
            except (Unusable, MemoryError):
                raise
            except Exception:  # noqa: BLE001 - whatever a decoder raises
                return
            frame.info["icc_profile"] = image.info.get("icc_profile")
            # Browsers show what claims 10 ms or less for 100 ms.
            durations.append(round(milliseconds) if (milliseconds := image.info.get("duration") or 0) > 10 else 100)
            yield _upright_srgb(_scaled(frame, _fit(frame.size, ANIMATION)), orientation)

    read = list(pictures())
    if len(read) < min(2, frames - start):
        return []  # the still is all there is of it
    first, *others = read
    others = [other if other.size == first.size else other.resize(first.size) for other in others]
    loop = image.info.get("loop", 0 if image.format == "AVIF" else 1)
    if image.format == "GIF" and "loop" in image.info and loop > 0:
        loop += 1  # a GIF counts the repetitions, a WebP how often it is shown
    path = folder / "animation.webp"
    first.save(
        path,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=durations if others else durations[0],
        loop=min(loop, 65535),
        quality=WEBP_QUALITY - 5,
        method=1,
    )
    return [_rendition(path, "animation", "image/webp", first.size)]


def _on_white(image: Image.Image) -> Image.Image:
    """A copy of a picture, without transparency."""
    if image.mode != "RGBA":
        return image.copy()
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _placeholder(image: Image.Image) -> str:
    """A picture's BlurHash, of 4 x 3 components, or 3 x 4 where it stands upright."""
    tiny = _on_white(image).resize(_fit(image.size, 32), Image.Resampling.BOX)
    width, height = tiny.size
    pixels = list(tiny.get_flattened_data())
    rows = [pixels[start : start + width] for start in range(0, len(pixels), width)]
    placeholder: str = blurhash.encode(rows, *((4, 3) if width >= height else (3, 4)))
    return placeholder
