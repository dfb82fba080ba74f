"""From an uploaded picture to what is served of it. No AWS here: a file goes in, a `Picture` comes out.

The recipe is the fast one: a JPEG is decoded at the smallest scale that is still large enough, resized once to the
largest rendition, and only that small picture is turned upright and converted to sRGB; the others are made of it.
"""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import blurhash
from PIL import AvifImagePlugin, Image, ImageCms, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401 - plugins

from kinds import PICTURES, kind_of

RECIPE = "1"
"""The recipe's version, part of every rendition's key: change it when renditions change."""
SIZES = (1600, 800, 320)
"""The renditions' longest sides, in pixels."""
SQUARE = 150
"""The side of the square cut from the middle, in pixels."""
JPEG_QUALITY = 85
WEBP_QUALITY = 80

LANCZOS = Image.Resampling.LANCZOS
Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and checked before anything is decoded


class Unusable(Exception):
    """The file can never become renditions; the text says why, in words for whoever uploaded it.

    Attributes:
        code: A short code, for filters and counts.
    """

    def __init__(self, code: str, explanation: str) -> None:
        super().__init__(explanation)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may ask for at most.

    Attributes:
        megapixels: Width times height, in millions.
        megabytes: The file's size, in millions of bytes.
    """

    megapixels: float = 100
    megabytes: float = 50

    def check_size(self, size: int) -> None:
        """Check a file's size in bytes.

        Raises:
            Unusable: It is empty or too large.
        """
        if size == 0:
            raise Unusable("empty", "the file is empty")
        if size > self.megabytes * 1e6:
            raise Unusable("too_large", f"the file has {size / 1e6:.1f} MB, more than {self.megabytes:g}")

    def check_pixels(self, width: int, height: int) -> None:
        """Check a picture's width and height.

        Raises:
            Unusable: They multiply to too many pixels.
        """
        if width * height > self.megapixels * 1e6:
            raise Unusable(
                "too_many_pixels",
                f"the picture has {width} x {height} pixels, more than {self.megapixels:g} million",
            )


@dataclass(frozen=True, slots=True)
class Rendition:
    """One file to serve.

    Attributes:
        name: Its file name, `1600.webp` or `square.webp`.
        content_type: Its media type.
        width: In pixels.
        height: In pixels.
        square: Whether it is the square cut from the middle, not the whole picture.
        data: The file.
    """

    name: str
    content_type: str
    width: int
    height: int
    square: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """What was made of an upload.

    Attributes:
        format: The upload's format, as its bytes tell.
        width: Its width as seen, turned upright, in pixels.
        height: Its height as seen, in pixels.
        blurhash: A placeholder of some 30 characters (BlurHash, Wolt 2019).
        renditions: The files to serve, the largest first.
    """

    format: str
    width: int
    height: int
    blurhash: str
    renditions: tuple[Rendition, ...]


def make_renditions(path: Path, limits: Limits) -> Picture:
    """Make a picture's renditions.

    The whole picture comes at most at 1600, 800 and 320 px on its longest side, never larger than it is; beside them
    stands a 150 px square from its middle. Each is a WebP and a JPEG in sRGB, upright, without any metadata;
    the WebP keeps transparency, the JPEG shows it on white.

    Args:
        path: The upload.
        limits: What it may ask for.

    Raises:
        Unusable: The file is empty, too large, broken, or no picture of a known kind.
    """
    limits.check_size(path.stat().st_size)
    kind = kind_of(path)
    if kind not in PICTURES:
        raise Unusable("foreign", f"the file is {kind or 'of an unknown kind'}, not a picture that can be shown")
    try:
        with path.open("rb") as file:
            image = Image.open(file, formats=[kind])
            width, height = image.size
            limits.check_pixels(width, height)
            decoded = _decode(image)
            orientation = _orientation(image)
        large = _scaled(decoded, _fit(decoded.size, SIZES[0]))
        # A long, narrow picture's largest rendition may be lower than the square: it is then cut from the original.
        square = _square(large if min(large.size) >= SQUARE else decoded)
        large, square = (_upright_srgb(each, orientation) for each in (large, square))
    except Unusable:
        raise
    except Exception as error:  # whatever a decoder raises, it says of the file
        raise Unusable("broken", f"the file is a broken {kind}: {type(error).__name__}: {error}") from error
    if orientation >= 5:
        width, height = height, width

    views = {str(max(large.size)): large}
    smaller = large
    for size in SIZES:
        if size < max(smaller.size):
            smaller = _scaled(smaller, _fit(large.size, size))
            views[str(size)] = smaller
    views["square"] = square
    with ThreadPoolExecutor(max_workers=2) as pool:  # encoders let go of the interpreter's lock
        files = [pool.submit(encode, name, view) for name, view in views.items() for encode in (_webp, _jpeg)]
        return Picture(kind, width, height, _placeholder(smaller), tuple(file.result() for file in files))


def _decode(image: Image.Image) -> Image.Image:
    """A picture's pixels, of a JPEG perhaps at a fraction of its size, in a mode that can be resized."""
    width, height = image.size
    # draft() stays at or above the size asked for, in both directions: it must have the picture's own proportions.
    scale = min(1.0, max(SIZES[0] / max(width, height), SQUARE / min(width, height)))
    image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
    image.load()
    return _eight_bit(image)


def _eight_bit(image: Image.Image) -> Image.Image:
    """A picture in a mode that can be resized: L, LA, RGB, RGBA or CMYK."""
    match image.mode:
        case "L" | "RGB" if "transparency" in image.info:  # one colour, or one grey, stands for "nothing"
            return image.convert("RGBA")
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


def _grey(image: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits as one of 8: 16 bits by their range, any other by the values it holds."""
    lowest, highest = image.getextrema()
    assert isinstance(lowest, int | float)
    assert isinstance(highest, int | float)
    if image.mode.startswith("I;16") or (image.mode == "I" and lowest >= 0 and 255 < highest <= 65535):
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


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture made smaller; by exactly half the quick way."""
    if image.size == size:
        return image
    if image.size == (size[0] * 2, size[1] * 2):
        return image.reduce(2)
    return image.resize(size, LANCZOS)


def _square(image: Image.Image) -> Image.Image:
    """The square from a picture's middle, 150 px or, where it is smaller, as large as there is."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    side_made = min(side, SQUARE)
    return image.resize((side_made, side_made), LANCZOS, box=(left, top, left + side, top + side))


def _orientation(image: Image.Image) -> int:
    """A picture's EXIF orientation, 1 to 8; 1 where it has none, or none that can be read."""
    try:
        orientation = image.getexif().get(0x0112, 1)
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
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
        else:
            assert converted is not None
            return converted
    return image.convert("RGB")


_SRGB = ImageCms.createProfile("sRGB")


def _webp(name: str, image: Image.Image) -> Rendition:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return Rendition(f"{name}.webp", "image/webp", *image.size, name == "square", buffer.getvalue())


def _jpeg(name: str, image: Image.Image) -> Rendition:
    buffer = io.BytesIO()
    # Of a copy: save() keeps its settings on the image, which another thread may be saving as a WebP.
    _on_white(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Rendition(f"{name}.jpg", "image/jpeg", *image.size, name == "square", buffer.getvalue())


def _on_white(image: Image.Image) -> Image.Image:
    """A copy of a picture, without transparency."""
    if image.mode != "RGBA":
        return image.copy()
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _placeholder(image: Image.Image) -> str:
    """A picture's BlurHash, of 4 x 3 components, or 3 x 4 where it stands upright."""
    tiny = ImageOps.contain(_on_white(image), (32, 32), Image.Resampling.BOX)
    width, height = tiny.size
    pixels = list(tiny.get_flattened_data())
    rows = [pixels[start : start + width] for start in range(0, len(pixels), width)]
    placeholder: str = blurhash.encode(rows, *((4, 3) if width >= height else (3, 4)))
    return placeholder
