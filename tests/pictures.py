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
