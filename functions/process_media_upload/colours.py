"""Colours that a file describes by numbers (ITU-T H.273) instead of a profile, as the ICC profile that says the same.

AVIF and HEIC do so (`nclx`), and PNG (`cICP`). The profile goes the way of every other one; nothing else has to know.
"""

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

_PRIMARIES = {
    1: ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),  # BT.709 and sRGB
    9: ((0.67348, 0.27904, -0.00193), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686)),  # BT.2020
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),  # Display P3
}
"""Red, green and blue in CIE XYZ: table 2, its white brought to a profile's (Bradford, in ICC.1:2022, annex E)."""
_WHITE_POINT = (0.9642, 1.0, 0.8249)
"""The white of every profile, D50."""
_STEPS = 1024
_WHITE = 203.0
"""The light of white paper in an HDR picture, in candelas per square metre (ITU-R BT.2408)."""
_BRIGHTEST = 1000.0
"""The light that becomes white, in candelas per square metre; what is brighter does, too."""


def _srgb(signal: float) -> float:
    """IEC 61966-2-1. Browsers show BT.709's and BT.2020's signals by it, too."""
    return signal / 12.92 if signal <= 0.04045 else ((signal + 0.055) / 1.055) ** 2.4


def _pq(signal: float) -> float:
    """SMPTE ST 2084 (in ITU-R BT.2100), on a screen."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return _on_screen(10_000 * (max(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1))


def _hlg(signal: float) -> float:
    """Hybrid log-gamma (ITU-R BT.2100) of a display of 1,000 candelas, on a screen."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = signal**2 / 3 if signal <= 0.5 else (math.exp((signal - c) / a) + b) / 12
    return _on_screen(1000 * scene**1.2)


def _on_screen(light: float) -> float:
    """What light becomes on a screen that has no more than white: what is brighter than paper is pressed together.

    Reinhard's curve (2002, equation 4) with a white point, so that paper keeps most of its light.
    """
    relative, most = light / _WHITE, _BRIGHTEST / _WHITE
    return min(relative * (1 + relative / most**2) / (1 + relative), 1.0)


_TRANSFERS: dict[int, Callable[[float], float]] = {
    1: _srgb,
    4: lambda signal: signal**2.2,
    5: lambda signal: signal**2.8,
    6: _srgb,
    8: lambda signal: signal,
    13: _srgb,
    14: _srgb,
    15: _srgb,
    16: _pq,
    18: _hlg,
}
"""From a signal to light, each from 0 to 1 (table 3)."""


@cache
def profile_of(primaries: int, transfer: int) -> bytes | None:
    """The ICC profile of some colours; None where they are those of every screen, which any unknown are taken for.

    Args:
        primaries: ColourPrimaries of ITU-T H.273.
        transfer: TransferCharacteristics of ITU-T H.273. PQ and HLG are brought to standard range.
    """
    curve = _TRANSFERS.get(transfer, _srgb)
    columns = _PRIMARIES.get(primaries, _PRIMARIES[1])
    if columns is _PRIMARIES[1] and curve is _srgb:
        return None
    steps = (round(65535 * curve(step / (_STEPS - 1))) for step in range(_STEPS))
    tone = b"curv" + bytes(4) + struct.pack(f">I{_STEPS}H", _STEPS, *steps)
    tags = {b"wtpt": _xyz(_WHITE_POINT), b"rTRC": tone, b"gTRC": tone, b"bTRC": tone}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return _profile(tags)


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """A profile of a screen (ICC.1:2022, 7.2 and 7.3)."""
    at, table, content = 128 + 4 + 12 * len(tags), [], b""
    for name, data in tags.items():
        table.append(struct.pack(">4sII", name, at + len(content), len(data)))
        content += data
    white = _xyz(_WHITE_POINT)[8:]
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x", at + len(content), 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", white
    )
    return header + struct.pack(">I", len(tags)) + b"".join(table) + content


def colours_of(upload: Path) -> tuple[int, int] | None:
    """The primaries and the transfer that an AVIF or HEIC names; None where it names none, or cannot be read."""
    import av  # only here, as FFmpeg's libraries take a while to load

    options = {"protocol_whitelist": "file", "format_whitelist": "mov"}
    with suppress(av.error.FFmpegError, LookupError), av.open(str(upload), format="mov", options=options) as source:
        codec = source.streams.video[0].codec_context
        return (codec.color_primaries, codec.color_trc) if codec else None
    return None
