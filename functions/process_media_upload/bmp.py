"""BMPs as browsers read them.

Pillow knows a list of bit fields, paints what a run-length coded picture leaves out in the palette's first colour, and
refuses two bits a pixel, and a palette of another length than its depth asks for. (Microsoft, "Bitmap Header Types" and
"Bitmap Compression".)
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageChops

_OLDEST = 12
"""The length of the header whose sides have 16 bits and whose palette has three bytes a colour."""
_PLAIN, _RLE8, _RLE4, _FIELDS, _ALPHA_FIELDS = 0, 1, 2, 3, 6
_PALETTES = {1: "P;1", 2: "P;2", 4: "P;4", 8: "P"}
_USUAL = {16: (0x7C00, 0x3E0, 0x1F), 24: (0xFF0000, 0xFF00, 0xFF), 32: (0xFF0000, 0xFF00, 0xFF)}
_AT_ONCE = {
    (16, _USUAL[16]): "BGR;15",
    (16, (0xF800, 0x7E0, 0x1F)): "BGR;16",
    (24, _USUAL[24]): "BGR",
    (32, _USUAL[32]): "BGRX",
    (32, (*_USUAL[32], 0xFF000000)): "BGRA",
}
"""The fields that Pillow unpacks, and what it calls them."""
_BAND = 256
"""How many rows of other fields are unpacked at once, as each byte of a pixel then takes room of its own."""


@dataclass(frozen=True, slots=True)
class _Header:
    """What a BMP says of itself.

    Attributes:
        size: Width and height, in pixels.
        step: 1 where the first row is the topmost, -1 where it is the lowest.
        bits: Bits a pixel.
        compression: How the pixels are coded.
        fields: The bits of red, green and blue, and of alpha where there is one.
        palette: Its colours, four bytes each: blue, green, red, and one that counts for nothing.
        at: Where the pixels begin.
    """

    size: tuple[int, int]
    step: int
    bits: int
    compression: int
    fields: tuple[int, ...]
    palette: bytes
    at: int


def decoded(content: bytes, check_pixels: Callable[[int, int], None], *, is_cut: bool) -> Image.Image:
    """A BMP's pixels, in mode P, RGB or RGBA.

    Args:
        content: The file.
        check_pixels: Refuses a width and a height that are too large; called before anything is decoded.
        is_cut: Whether it may break off; what is missing is then black.

    Raises:
        ValueError: It is damaged, or coded in a way that is not read here.
    """
    header = _header(content)
    check_pixels(*header.size)
    width, height = header.size
    if header.compression in (_RLE8, _RLE4):
        return _of_runs(content, header, is_cut=is_cut)
    stride = (width * header.bits + 31) // 32 * 4
    pixels = content[header.at : header.at + stride * height]
    if len(pixels) < stride * height:
        if not is_cut:
            raise ValueError("its last rows are missing")
        pixels = pixels.ljust(stride * height, b"\0")
    if header.bits in _PALETTES:
        arguments = (_PALETTES[header.bits], stride, header.step)
        return _in_colours(Image.frombytes("P", header.size, pixels, "raw", *arguments), header)
    if layout := _AT_ONCE.get((header.bits, header.fields)):
        mode = "RGBA" if layout == "BGRA" else "RGB"
        return Image.frombytes(mode, header.size, pixels, "raw", layout, stride, header.step)
    return _of_fields(pixels, stride, header)


def _header(content: bytes) -> _Header:
    at, length = struct.unpack_from("<10xII", content)
    if length == _OLDEST:
        width, height, bits = struct.unpack_from("<HH2xH", content, 18)
        compression = colours = 0
    else:
        width, height, bits, compression, colours = struct.unpack_from("<ii2xHI12xI", content, 18)
    if width <= 0 or height == 0:
        raise ValueError("it has no pixels")
    fields, after = _USUAL.get(bits, ()), 14 + length
    if bits in (16, 32) and compression in (_FIELDS, _ALPHA_FIELDS):
        # A long header holds them, and alpha's; after a short one they follow.
        count = 4 if length >= 56 or compression == _ALPHA_FIELDS else 3
        fields = struct.unpack_from(f"<{count}I", content, 54)
        fields = fields[:3] if not any(fields[3:]) else fields
        after = max(after, 54 + 4 * count)
    elif not (
        (compression == _PLAIN and (bits in _PALETTES or bits in _USUAL))
        or (compression, bits) in ((_RLE8, 8), (_RLE4, 4))
    ):
        raise ValueError(f"unsupported compression {compression} of {bits} bits a pixel")
    entry = 3 if length == _OLDEST else 4
    end = after + entry * min(colours or 1 << bits, 1 << bits) if bits in _PALETTES else after
    table = content[after:end]
    palette = b"".join(table[place : place + 3] + b"\0" for place in range(0, len(table) - 2, entry))
    return _Header((width, abs(height)), 1 if height < 0 else -1, bits, compression, fields, palette, at or end)


def _in_colours(image: Image.Image, header: _Header) -> Image.Image:
    """A picture of mode P with its palette; what lies beyond that is black."""
    image.putpalette(header.palette.ljust(4 << header.bits, b"\0"), "BGRX")
    return image


def _of_fields(pixels: bytes, stride: int, header: _Header) -> Image.Image:
    """A picture whose pixels hold their colours in any bits."""
    width, height = header.size
    image = Image.new("RGBA" if len(header.fields) == 4 else "RGB", header.size)
    each = {16: "LA", 32: "RGBA"}[header.bits]  # a pixel's bytes, lowest first, as if each were a band
    for top in range(0, height, _BAND):
        rows = min(_BAND, height - top)
        strip = pixels[top * stride : (top + rows) * stride]
        parts = Image.frombytes(each, (width, rows), strip, "raw", each, stride, header.step).split()
        bands = [_field(parts, field) for field in header.fields]
        image.paste(Image.merge(image.mode, bands), (0, top if header.step > 0 else height - top - rows))
    return image


def _field(parts: tuple[Image.Image, ...], field: int) -> Image.Image:
    """A colour's band: what each byte adds to it, from 0 to 255."""
    band = Image.new("L", parts[0].size)
    lowest = field & -field
    for number, part in enumerate(parts):
        if share := (field >> 8 * number) & 0xFF:
            table = [round(((value & share) << 8 * number) // lowest * 255 / (field // lowest)) for value in range(256)]
            band = ImageChops.add(band, part.point(table))
    return band


def _of_runs(content: bytes, header: _Header, *, is_cut: bool) -> Image.Image:
    """A run-length coded picture. It may end early, and skip pixels: these are black."""
    width, height = header.size
    indices, painted = bytearray(width * height), bytearray(width * height)
    is_short = header.compression == _RLE4
    x = y = 0
    at = header.at
    while y < height:
        if at + 2 > len(content):
            if not is_cut:
                raise ValueError("its last rows are missing")
            break
        count, value = content[at], content[at + 1]
        at += 2
        if count:
            run = bytes((value >> 4, value & 15)) * (count // 2 + 1) if is_short else bytes((value,)) * count
        elif value == 0:
            x, y = 0, y + 1
            continue
        elif value == 1:
            break
        elif value == 2:
            right, up = (*content[at : at + 2], 0, 0)[:2]
            x, y, at = x + right, y + up, at + 2
            continue
        else:
            count = value
            size = (count + 1) // 2 if is_short else count
            run = content[at : at + size]
            run = bytes(half for byte in run for half in (byte >> 4, byte & 15)) if is_short else run
            at += size + size % 2
        run = run[: max(0, min(count, width - x))]
        place = y * width + x
        indices[place : place + len(run)] = run
        painted[place : place + len(run)] = b"\xff" * len(run)
        x += count
    image = _in_colours(Image.frombytes("P", header.size, bytes(indices), "raw", "P", 0, header.step), header)
    black = Image.new("RGB", header.size)
    black.paste(
        image.convert("RGB"), mask=Image.frombytes("L", header.size, bytes(painted), "raw", "L", 0, header.step)
    )
    return black
