"""What of a PNG is handed to its decoder: the chunks that make the picture, and none of the others.

Real PNGs carry megabytes of text, chunks with a wrong checksum, a palette longer than its depth allows or a count of
frames that is not true. Browsers show them; a decoder that reads all of it with care refuses them.
"""

import struct
import zlib
from collections.abc import Iterator

import colours

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
_COLOURS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
"""The chunks that say what its colours are, and how long each must be."""
_PALETTE = b"\x03"
"""The colour type of a picture with a palette (W3C PNG, 11.2.1)."""


def mended(content: bytes) -> bytes:
    """A PNG with only the chunks that make its picture, and those in order.

    As libpng does, an optional chunk that is damaged is left out, and a palette is cut to what its depth can address.
    An animation counts the frames that are there. A PNG that breaks off ends where it does.

    Args:
        content: The file.

    Raises:
        ValueError: Its header or palette is damaged.
    """
    chunks: list[tuple[bytes, bytes]] = []
    colours = 0
    for name, data, whole in _chunks(content):
        if name in (b"IHDR", b"PLTE") and not whole:
            raise ValueError(f"its {name.decode()} chunk is damaged")
        if name == b"IHDR" and data[9:10] == _PALETTE:
            colours = min(256, 1 << data[8])
        elif name == b"PLTE" and colours:
            data = data[: 3 * colours]
            colours = len(data) // 3
        useful = name in _PICTURE or len(data) == _COLOURS.get(name)
        useful &= whole or name in (b"IDAT", b"fdAT", b"IEND")
        if useful and not (name == b"tRNS" and colours and len(data) > colours):
            chunks.append((name, data))
    names = [name for name, _ in chunks]
    said = next((data[:4] for name, data in chunks if name == b"acTL"), b"")
    frames = min(int.from_bytes(said), names.count(b"fcTL"))
    if not frames or b"acTL" not in names[: names.index(b"IDAT") if b"IDAT" in names else 0]:
        chunks = [(name, data) for name, data in chunks if name not in (b"acTL", b"fcTL", b"fdAT")]
    return SIGNATURE + b"".join(
        _chunk(name, struct.pack(">I", frames) + data[4:8] if name == b"acTL" else data) for name, data in chunks
    )


def profile_of(start: bytes, *, has_profile: bool) -> bytes | None:
    """The ICC profile of colours that a PNG names or measures; empty for a screen's, None for what else the file says.

    What goes before what is the standard's (W3C PNG, 4.3): names, a profile, a screen's colours, measures.

    Args:
        start: The beginning of the file; what is asked for stands before its pixels.
        has_profile: Whether it has a profile that can be read.
    """
    found: dict[bytes, bytes] = {}
    for name, data, whole in _chunks(start):
        if name == b"IDAT":
            break
        if whole and len(data) == _COLOURS.get(name):
            found.setdefault(name, data)
    if names := found.get(b"cICP"):
        return colours.profile_of(names[0], names[1]) or b""
    if has_profile or b"sRGB" in found or b"gAMA" not in found:
        return None
    measures = [value / 100_000 for value in struct.unpack(">8I", found[b"cHRM"])] if b"cHRM" in found else []
    xy = tuple(zip(measures[::2], measures[1::2], strict=True))
    return colours.profile_of_measures(int.from_bytes(found[b"gAMA"]) / 100_000, xy or None)


def depth_of(start: bytes) -> int:
    """How many bits each sample of a PNG has.

    Args:
        start: At least its first 25 bytes.
    """
    return start[24]


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Each chunk's name and data, and whether it has the checksum that it should."""
    at = len(SIGNATURE)
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        data, checksum = content[at + 8 : at + 8 + length], content[at + 8 + length : at + 12 + length]
        yield name, data, checksum == _checksum(name, data)
        if name == b"IEND":
            return
        at += 12 + length


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), name) + data + _checksum(name, data)


def _checksum(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
