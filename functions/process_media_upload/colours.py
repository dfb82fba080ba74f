"""Colours that a file describes by numbers instead of a profile, as the ICC profile that says the same.

AVIF, HEIC (`nclx`) and PNG (`cICP`) name them as ITU-T H.273 does; a PNG may also measure them (`gAMA`, `cHRM`). The
profile goes the way of every other one; nothing else has to know. For videos it is a table, as filters take them.
"""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import BinaryIO

Point = tuple[float, float]
"""A colour without its brightness: x and y of CIE 1931."""
_Vector = tuple[float, float, float]

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_SCREEN = (_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_TELEVISION = (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
_PRIMARIES: dict[int, tuple[Point, ...]] = {
    1: _SCREEN,  # BT.709 and sRGB
    4: (_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: _TELEVISION,
    7: _TELEVISION,
    8: (_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
"""White, red, green and blue (table 2)."""
_WHITE_POINT = (0.9642, 1.0, 0.8249)
"""The white of every profile, D50, in CIE XYZ."""
_BRADFORD = ((0.8951, -0.7502, 0.0389), (0.2664, 1.7135, -0.0685), (-0.1614, 0.0367, 1.0296))
"""From X, Y and Z to what the eye's three receptors take (Bradford, in ICC.1:2022, annex E)."""
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
    7: lambda signal: signal / 4 if signal < 0.0913 else ((signal + 0.1115) / 1.1115) ** (1 / 0.45),
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
    """The ICC profile of colours named by numbers; None where they are those of every screen, as any unknown are.

    Args:
        primaries: ColourPrimaries of ITU-T H.273.
        transfer: TransferCharacteristics of ITU-T H.273. PQ and HLG are brought to standard range.
    """
    curve = _TRANSFERS.get(transfer, _srgb)
    points = _PRIMARIES.get(primaries, _SCREEN)
    if points is _SCREEN and curve is _srgb:
        return None
    steps = (round(65535 * curve(step / (_STEPS - 1))) for step in range(_STEPS))
    return _profile(points, struct.pack(f">4s4xI{_STEPS}H", b"curv", _STEPS, *steps))


def profile_of_measures(gamma: float, points: tuple[Point, ...] | None) -> bytes | None:
    """The ICC profile of colours that a PNG measures; None where they are a screen's, or make no sense.

    As in browsers, a gamma that stands alone and differs from a screen's by less than a twentieth says nothing.

    Args:
        gamma: The exponent from light to signal, such as 0.45455 (W3C PNG, 11.3.2.2).
        points: White, red, green and blue (W3C PNG, 11.3.2.1); None for a screen's.
    """
    if gamma <= 0 or (points is None and abs(gamma * 2.2 - 1) <= 0.05):
        return None
    with suppress(ZeroDivisionError, struct.error):
        return _profile(points or _SCREEN, struct.pack(">4s8xi", b"para", round(65536 / gamma)))
    return None


def cube_of(primaries: int, transfer: int) -> str | None:
    """The same as a table from colours to a screen's, for FFmpeg's `lut3d`; None where they are a screen's, or unknown.

    Args:
        primaries: ColourPrimaries of ITU-T H.273.
        transfer: TransferCharacteristics of ITU-T H.273. PQ and HLG are brought to standard range.
    """
    curve, points = _TRANSFERS.get(transfer, _srgb), _PRIMARIES.get(primaries, _SCREEN)
    if points is _SCREEN and curve is _srgb:
        return None
    screen = _columns(_SCREEN)
    columns = [_solved(screen, column) for column in _columns(points)]
    light = [curve(step / (_CUBE - 1)) for step in range(_CUBE)]
    reds, greens, blues = ([_times(value, column) for value in light] for column in columns)
    lines = [f"LUT_3D_SIZE {_CUBE}"]
    for blue in blues:
        for green in greens:
            x, y, z = (sum(each) for each in zip(blue, green, strict=True))
            lines += [f"{_signal(x + r):.4f} {_signal(y + g):.4f} {_signal(z + b):.4f}" for r, g, b in reds]
    return "\n".join(lines)


_CUBE = 33
"""How many steps the table has on each side."""


def _signal(light: float) -> float:
    """What IEC 61966-2-1 makes of light; of more or less than there is, the most or none."""
    light = min(max(light, 0.0), 1.0)
    return light * 12.92 if light <= 0.0031308 else 1.055 * math.pow(light, 1 / 2.4) - 0.055


def _columns(points: tuple[Point, ...]) -> list[_Vector]:
    """Red, green and blue in CIE XYZ, as bright as together make white, their white brought to a profile's."""
    white, *corners = ((x, y, 1 - x - y) for x, y in points)
    shares = _solved(corners, _times(1 / white[1], white))
    seen = [_seen(_times(share, corner)) for share, corner in zip(shares, corners, strict=True)]
    scales = [to / sum(by) for to, *by in zip(_seen(_WHITE_POINT), *seen, strict=True)]
    return [_solved(_BRADFORD, _vector(v * scale for v, scale in zip(each, scales, strict=True))) for each in seen]


def _seen(xyz: _Vector) -> _Vector:
    return _vector(map(sum, zip(*map(_times, xyz, _BRADFORD), strict=True)))


def _times(factor: float, vector: _Vector) -> _Vector:
    return _vector(factor * value for value in vector)


def _vector(values: Iterable[float]) -> _Vector:
    x, y, z = values
    return x, y, z


def _solved(columns: Sequence[_Vector], target: _Vector) -> _Vector:
    """How much of each of three columns makes the target (Cramer's rule)."""

    def volume(a: _Vector, b: _Vector, c: _Vector) -> float:
        return (
            a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
        )

    a, b, c = columns
    whole = volume(a, b, c)
    return volume(target, b, c) / whole, volume(a, target, c) / whole, volume(a, b, target) / whole


def _xyz(values: _Vector) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _profile(points: tuple[Point, ...], tone: bytes) -> bytes:
    """A profile of a screen (ICC.1:2022, 7.2 and 7.3) with a curve for all three of its colours."""
    tags = {b"wtpt": _xyz(_WHITE_POINT), b"rTRC": tone, b"gTRC": tone, b"bTRC": tone}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _columns(points), strict=True)}
    at, table, content = 128 + 4 + 12 * len(tags), [], b""
    for name, data in tags.items():
        table.append(struct.pack(">4sII", name, at + len(content), len(data)))
        content += data
    white = _xyz(_WHITE_POINT)[8:]
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x", at + len(content), 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", white
    )
    return header + struct.pack(">I", len(tags)) + b"".join(table) + content


def colours_of(file: BinaryIO) -> tuple[int, int] | None:
    """The primaries and the transfer that an AVIF or HEIC names; None where it names none, or cannot be read."""
    import av  # only here, as FFmpeg's libraries take a while to load

    file.seek(0)
    options = {"format_whitelist": "mov"}
    with suppress(av.error.FFmpegError, LookupError), av.open(file, format="mov", options=options) as source:
        codec = source.streams.video[0].codec_context
        return (codec.color_primaries, codec.color_trc) if codec else None
    return None
