"""TIFFs (TIFF 6.0), as far as Pillow reads them wrongly or not at all."""

import io
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own reader takes 16 bits of a plane that is not compressed for 8
for _prefix, _rawmode in ((b"II", "RGB;16L"), (b"MM", "RGB;16B")):  # Lab of 16 bits, its high bytes as if they were RGB
    TiffImagePlugin.OPEN_INFO.setdefault((_prefix, 8, (1,), 1, (16, 16, 16), ()), ("RGB", _rawmode))

_BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _ROWS, _STRIP_SIZES = 258, 262, 273, 274, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_DNG_VERSION, _SUBFILE = 0xC612, 0xFE
_WHITE_IS_ZERO, _LAB = 0, 8
_FLOAT = 3


def is_raw(image: TiffImageFile) -> bool:
    """Whether a TIFF is a camera's raw picture: its first picture is then a small version of another (bit 0 is set).

    Tags: Adobe DNG 1.7; TIFF 6.0, "NewSubfileType".
    """
    subfile = image.tag_v2.get(_SUBFILE, 0)
    return _DNG_VERSION in image.tag_v2 or (isinstance(subfile, int) and bool(subfile & 1))


def of_floats(file: BinaryIO, check_pixels: Callable[[int, int], None]) -> Image.Image | None:
    """A picture whose red, green and blue are floating point, from 0 to 1; None of any other.

    FFmpeg reads these, and Pillow does not.

    Args:
        file: The upload.
        check_pixels: Refuses a width and a height that are too large; called before anything is decoded.
    """
    file.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(tags.next)
    tags.load(file)
    if tags.get(_SAMPLE_FORMAT) != (_FLOAT,) * 3 or tags.get(_BITS) != (32,) * 3:
        return None
    check_pixels(tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH])
    import av  # only here, as FFmpeg's libraries take a while to load

    file.seek(0)
    decoder = av.CodecContext.create("tiff", "r")
    frame, *_ = [*decoder.decode(av.Packet(file.read())), *decoder.decode(None)]
    plane, row = frame.planes[0], 3 * 4 * frame.width
    pixels = bytes(plane)
    rows = (pixels[at : at + row] for at in range(0, plane.line_size * frame.height, plane.line_size))
    values = memoryview(b"".join(rows)).cast("f")
    layout = "F;32BF" if frame.format.is_big_endian else "F;32F"
    bands = (
        Image.frombytes("F", (frame.width, frame.height), values[at::3].tobytes(), "raw", layout) for at in range(3)
    )
    image = Image.merge("RGB", [band.point(lambda value: value * 255 + 0.5).convert("L") for band in bands])
    exif = Image.Exif()
    exif[_ORIENTATION] = tags.get(_ORIENTATION, 1)
    image.info["exif"] = exif.tobytes()
    return image


def pixels_of(image: TiffImageFile, file: BinaryIO) -> Image.Image:
    """A picture's pixels, in colours that are as they should be.

    Args:
        image: The picture.
        file: The upload.
    """
    if image.info.get("compression") == "webp":
        return _of_webp(image, file)
    image.load()
    photometric = image.tag_v2.get(_PHOTOMETRIC, 0)
    if photometric == _LAB and image.mode == "RGB":
        return Image.frombytes("LAB", image.size, image.tobytes(), "raw", "LAB")
    return image


def is_negative(image: TiffImageFile) -> bool:
    """Whether the lowest value is white and Pillow has left it so, which it does above 8 bits."""
    return image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode in ("I;16", "I;16B", "I", "F")


def _of_webp(image: TiffImageFile, file: BinaryIO) -> Image.Image:
    """A picture whose strips or tiles are WebPs, which Pillow's TIFF library is built without."""
    tags, whole = image.tag_v2, Image.new(image.mode, image.size)
    places, sizes = (_TILES, _TILE_SIZES) if _TILES in tags else (_STRIPS, _STRIP_SIZES)
    width, height = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_HEIGHT, tags.get(_ROWS, image.height))
    corners = [(x, y) for y in range(0, image.height, height) for x in range(0, image.width, width)]
    for corner, place, size in zip(corners, tags[places], tags[sizes], strict=True):
        file.seek(place)
        whole.paste(Image.open(io.BytesIO(file.read(size)), formats=["WEBP"]), corner)
    return whole
