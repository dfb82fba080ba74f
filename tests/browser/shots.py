"""Keep pictures of the console's pages for its guide, small: `make shots` calls it."""

import sys
from pathlib import Path

from PIL import Image

KEPT = (
    "dead-now-1280-light",
    "dead-now-390-dark",
    "dead-letter-1280-dark",
    "media-1280-light",
    "media-390-light",
    "mail-look-1280-light",
    "schedule-390-light",
    "insights-full-1280-dark",
)
"""Of each page on every screen, those that the guide shows."""


def main(source: Path, target: Path) -> None:
    """Write WebP files of the pictures that are kept."""
    target.mkdir(exist_ok=True)
    for name in KEPT:
        with Image.open(source / f"{name}.png") as picture:
            picture.convert("RGB").save(target / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main(*(Path(given) for given in sys.argv[1:]))
