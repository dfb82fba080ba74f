"""What of a PNG is handed to its decoder: the chunks that make the picture, and none of the others.

Real PNGs carry megabytes of text, chunks with a wrong checksum, a palette longer than its depth allows or a count of
frames that is not true. Browsers show them; a decoder that reads all of it with care refuses them.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from isal import isal_zlib

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


def is_still(content: bytes) -> bool:
    """Whether a PNG is not one of several frames."""
    return b"acTL" not in content[: content.find(b"IDAT")]


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


class Inflated(io.RawIOBase):
    """A still PNG as it is read, its pixels inflated already and put into deflate's blocks that are merely copied.

    Pillow's builds inflate by the system's zlib. ISA-L takes half of its time, and here works ahead in another thread,
    while what it has inflated becomes pixels. Chunks that follow the pixels are left out, as they say nothing of them.
    """

    def __init__(self, content: bytes) -> None:
        self._pieces = _inflated(content)
        self._pool = ThreadPoolExecutor(1)
        self._piece, self._used, self._at = b"", 0, 0
        self._ahead = self._pool.submit(next, self._pieces, b"")

    def tell(self) -> int:
        """How much has been read."""
        return self._at

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        """Go forward; there is no way back."""
        if whence != io.SEEK_SET or to < self._at:
            raise io.UnsupportedOperation("it can only be read forward")
        self.read(to - self._at)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or what there is."""
        if size < 0:
            raise io.UnsupportedOperation("it is read in parts")
        if self._used == len(self._piece):
            self._piece, self._used = self._ahead.result(), 0
            self._ahead = self._pool.submit(next, self._pieces, b"")
        part = self._piece[self._used : self._used + size]
        self._used += len(part)
        self._at += len(part)
        return part + self.read(size - len(part)) if part and len(part) < size else part


def _inflated(content: bytes) -> Iterator[bytes]:
    """The parts of a PNG whose pixels are inflated; checksums of these are left out, as they are not looked at."""
    head, inflater, adler, start = [SIGNATURE], isal_zlib.decompressobj(), 1, b"\x78\x01"
    at = len(SIGNATURE)
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            if head:
                yield b"".join(head)
                head = []
            for begin in range(at + 8, min(at + 8 + length, len(content)), _STEP):
                packed = content[begin : min(begin + _STEP, at + 8 + length)]
                while raw := inflater.decompress(packed, _MOST):
                    packed = inflater.unconsumed_tail
                    adler = isal_zlib.adler32(raw, adler)
                    yield _stored(raw, start)
                    start = b""
        elif name == b"IEND":
            if inflater.eof:
                end = b"\1\0\0\xff\xff" + struct.pack(">I", adler)  # a last block, which is empty
                yield struct.pack(">I4s", len(end), b"IDAT") + end + bytes(4) + _chunk(b"IEND", b"")
            return
        elif head:
            head.append(content[at : at + 12 + length])
        at += 12 + length


_STEP, _MOST = 1 << 16, 1 << 20
"""How many bytes are inflated at once, and how many may come of it."""
_BLOCK = 65535
"""The most that a block may hold which is copied (RFC 1951, 3.2.4)."""


def _stored(raw: bytes, start: bytes) -> bytes:
    """A chunk of pixels that are not compressed."""
    blocks = [raw[at : at + _BLOCK] for at in range(0, len(raw), _BLOCK)]
    parts = [struct.pack(">I4s", len(start) + len(raw) + 5 * len(blocks), b"IDAT"), start]
    for block in blocks:
        parts += [struct.pack("<BHH", 0, len(block), len(block) ^ _BLOCK), block]
    return b"".join((*parts, bytes(4)))
