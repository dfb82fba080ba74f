"""Pictures for tests: which way is up shows by their colours."""

from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)


def quarters(width: int = 400, height: int = 300) -> Image.Image:
    """A picture that shows which way is up: red and green above, blue and grey below."""
    image = Image.new("RGB", (width, height), GREY)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def corners(image: Image.Image) -> list[Any]:
    """The colours near the corners, clockwise from the upper left."""
    image, (w, h) = image.convert("RGB"), image.size
    at = [(w // 8, h // 8), (w - w // 8, h // 8), (w - w // 8, h - h // 8), (w // 8, h - h // 8)]
    return [image.getpixel(point) for point in at]


def close(found: Any, expected: Any, by: int = 12) -> bool:
    return bool(np.all(np.abs(np.asarray(found, int) - np.asarray(expected, int)) <= by))


SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


def by_srgb(light: Any) -> Any:
    """Light as sRGB's signal (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def by_light(primaries: tuple[tuple[float, float], ...], light: Any) -> Any:
    """Some light in sRGB, computed from the primaries' x and y (their white is D65)."""

    def to_xyz(corners: tuple[tuple[float, float], ...]) -> Any:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
        return columns * np.linalg.solve(columns, np.array([0.3127 / 0.3290, 1, 0.3583 / 0.3290]))

    return 255 * by_srgb(np.linalg.solve(to_xyz(SRGB), to_xyz(primaries) @ light).clip(0, 1))


def by_definition(primaries: tuple[tuple[float, float], ...], colour: tuple[int, int, int]) -> Any:
    """A colour in sRGB whose signals are sRGB's, too."""
    signal = np.array(colour) / 255
    return by_light(primaries, np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4))
