"""The boxes of an AVIF or HEIC (ISO/IEC 14496-12 and 23008-12), where decoders are too lenient or too strict."""

import struct
from collections.abc import Iterator
from typing import NamedTuple


class _Box(NamedTuple):
    """A box: its type, and where it begins, what it holds begins, and it ends."""

    kind: bytes
    start: int
    inside: int
    end: int


def check_whole(content: bytes) -> None:
    """Check that a file holds all that its main picture is made of, with its tiles and its transparency.

    A decoder paints a tile that is missing green, and calls it a picture.

    Args:
        content: The file, which a decoder has opened.

    Raises:
        ValueError: Some of it would lie beyond the end of the file.
    """
    meta = _meta(content)
    needed = _items_of_picture(content, meta)
    end = max((end for item, end in _ends(content, _only(content, meta, b"iloc")) if item in needed), default=0)
    if end > len(content):
        raise ValueError(f"the file ends {end - len(content)} bytes before its picture does")


def with_merged_associations(content: bytes) -> bytes:
    """The file with its lists of what properties its items have (`ipma`) merged into one of each sort.

    That is what the standard asks for; an old encoder wrote one for each item. All else stays where it was, as items
    are found by their place in the file: the room that is saved is left free.

    Args:
        content: The file.
    """
    properties = _only(content, _meta(content), b"iprp")
    rest, lists = b"", dict[bytes, list[bytes]]()
    for box in _boxes(content, properties):
        if box.kind == b"ipma":
            lists.setdefault(content[box.inside : box.inside + 4], []).extend(_associations(content, box))
        else:
            rest += content[box.start : box.end]
    for sort, items in lists.items():
        rest += _box(b"ipma", sort + struct.pack(">I", len(items)) + b"".join(sorted(items)))
    merged = _box(b"iprp", rest)
    saved = properties.end - properties.start - len(merged)
    if saved < 8:
        return content
    return content[: properties.start] + merged + _box(b"free", bytes(saved - 8)) + content[properties.end :]


def _box(kind: bytes, inside: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def _boxes(content: bytes, within: _Box) -> Iterator[_Box]:
    at = within.inside
    while at + 8 <= within.end:
        size, kind = struct.unpack_from(">I4s", content, at)
        inside = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, inside)
            inside += 8
        elif size == 0:
            size = within.end - at
        if size < inside - at:
            raise ValueError("its boxes are damaged")
        yield _Box(kind, at, inside, at + size)
        at += size


def _only(content: bytes, within: _Box, kind: bytes) -> _Box:
    box = next((box for box in _boxes(content, within) if box.kind == kind), None)
    if box is None:
        raise ValueError(f"its {kind.decode()} box is missing")
    return box


def _meta(content: bytes) -> _Box:
    """The box that describes the items, its version left out."""
    meta = _only(content, _Box(b"", 0, 0, len(content)), b"meta")
    return meta._replace(inside=meta.inside + 4)


def _associations(content: bytes, box: _Box) -> Iterator[bytes]:
    """What an `ipma` says of each item."""
    version, flags, count = struct.unpack_from(">B3sI", content, box.inside)
    at, id_size, each = box.inside + 8, 4 if version else 2, 2 if flags[2] & 1 else 1
    for _ in range(count):
        end = at + id_size + 1 + each * content[at + id_size]
        yield content[at:end]
        at = end


def _items_of_picture(content: bytes, meta: _Box) -> set[int]:
    """The main picture, what it is derived from, and what lies over these, such as their transparency."""
    box = _only(content, meta, b"pitm")
    needed = {int.from_bytes(content[box.inside + 4 : box.end])}
    references = list(_references(content, meta))
    while more := {
        item
        for kind, of, others in references
        for item in (
            others if kind == b"dimg" and of in needed else [of] if kind == b"auxl" and needed & {*others} else []
        )
        if item not in needed
    }:
        needed |= more
    return needed


def _references(content: bytes, meta: _Box) -> Iterator[tuple[bytes, int, list[int]]]:
    """Of each reference its kind, the item it is of, and the items that are referred to."""
    for box in _boxes(content, meta):
        if box.kind == b"iref":
            number = "I" if content[box.inside] else "H"
            for each in _boxes(content, box._replace(inside=box.inside + 4)):
                of, count = struct.unpack_from(f">{number}H", content, each.inside)
                at = each.inside + struct.calcsize(f">{number}H")
                yield each.kind, of, list(struct.unpack_from(f">{count}{number}", content, at))


def _ends(content: bytes, box: _Box) -> Iterator[tuple[int, int]]:
    """Each item with where a part of it ends in the file."""
    at = box.inside + 4
    version = content[box.inside]

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(content[at - size : at])

    sizes = number(2)
    offset_size, length_size, base_size, index_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        is_inside = bool(version and number(2) & 15)  # in the meta box itself
        number(2)
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size if version else 0)
            offset = base + number(offset_size)
            end = offset + number(length_size)
            if not is_inside:
                yield item, end
