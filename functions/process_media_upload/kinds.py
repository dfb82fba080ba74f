"""What a file is, told by its first bytes; its name and the type its sender claims are not asked."""

import re

PICTURES = frozenset({"JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "TIFF", "BMP"})
"""The pictures that renditions are made of, by Pillow's names for them."""
VIDEOS = {
    "MP4 video": "mov",
    "QuickTime video": "mov",
    "WebM or Matroska video": "matroska",
    "AVI video": "avi",
    "Windows Media video": "asf",
    "HEIF sequence": "mov",
}
"""The videos that renditions are made of, and FFmpeg's demuxer for each."""

_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIF": {b"heic", b"heix", b"heim", b"heis", b"mif1"},
    "HEIF sequence": {b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"},
    "QuickTime video": {b"qt  "},
    "Canon raw picture": {b"crx "},
}
"""ISO base media files (ISO/IEC 14496-12) by brand; one of any other brand is taken for MP4 video."""

_STARTS: tuple[tuple[str, bytes], ...] = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("GIF", rb"GIF8[79]a"),
    ("WEBP", rb"RIFF....WEBP"),
    ("Canon raw picture", rb"II\*\0.{4}CR"),
    ("TIFF", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("AVI video", rb"RIFF....AVI "),
    ("WAV audio", rb"RIFF....WAVE"),
    ("WebM or Matroska video", rb"\x1a\x45\xdf\xa3"),
    ("Windows Media video", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("QuickTime video", rb"[\0-\x1f]...(?:moov|mdat|wide|free|skip|pnot)"),
    ("Flash video", rb"FLV\x01"),
    ("MPEG video", rb"\0\0\x01[\xba\xb3]|\x47.{187}\x47"),
    ("Ogg audio or video", rb"OggS"),
    ("MP3 audio", rb"ID3|\xff[\xfb\xf3\xf2]"),
    ("FLAC audio", rb"fLaC"),
    ("PDF", rb"\s*%PDF"),
    ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("Photoshop", rb"8BPS"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("icon", rb"\0\0[\x01\x02]\0"),
    ("ZIP or Office", rb"PK\x03\x04"),
    ("gzip", rb"\x1f\x8b"),
    ("RAR", rb"Rar!"),
    ("Windows program", rb"MZ"),
    ("Linux program", rb"\x7fELF"),
)
_MARKUP = {b"<svg": "SVG", b"<html": "HTML", b"<!doctype html": "HTML", b"<script": "HTML", b"<?xml ": "XML"}
_PATTERNS = tuple((kind, re.compile(start, re.DOTALL)) for kind, start in _STARTS)


def kind_of(start: bytes) -> str | None:
    """The kind of a file, such as `JPEG`, `PDF` or `MP4 video`; None where its first bytes say nothing.

    Args:
        start: At least its first 4,096 bytes, or all there are.
    """
    start = start[:4096]
    if start[4:8] == b"ftyp":
        size = min(max(16, int.from_bytes(start[:4])), 256)
        brands = [start[8:12], *(start[at : at + 4] for at in range(16, size, 4))]
        # The major brand first; but `mif1` alone says only "a picture", and a sequence may hold a still, which counts.
        vague = (b"mif1", *_BRANDS["HEIF sequence"] - {b"msf1"}, b"msf1")
        for brand in sorted(brands, key=lambda brand: vague.index(brand) if brand in vague else -1):
            for kind, brands_of_kind in _BRANDS.items():
                if brand in brands_of_kind:
                    return kind
        return "MP4 video"
    known = next((kind for kind, pattern in _PATTERNS if pattern.match(start)), None)
    return known or _markup(start.removeprefix(b"\xef\xbb\xbf").lstrip().lower())


def _markup(text: bytes) -> str | None:
    """The kind of a text with tags: by the first telling one, or else as XML."""
    tags = sorted((text.find(tag), tag) for tag in _MARKUP if tag in text) if text.startswith(b"<") else []
    telling = [_MARKUP[tag] for _, tag in tags]
    return next((kind for kind in telling if kind != "XML"), "XML" if telling else None)
