"""What an upload may ask for, and what is made of it: the terms between the function and its process for the decoders.

The function itself needs no decoder, nor the time that it takes to import one.
"""

from dataclasses import dataclass

RECIPE = "3"
"""The recipe's version, part of every rendition's key: change it when renditions change."""


class Unusable(Exception):
    """The file can never become renditions; the text says why, in words for whoever uploaded it.

    Attributes:
        code: A short code, for filters and counts.
    """

    def __init__(self, code: str, explanation: str) -> None:
        super().__init__(explanation)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may ask for at most.

    Attributes:
        megabytes: A picture's size, in millions of bytes.
        megapixels: A picture's width times height, in millions.
        side: A picture's width or height, in pixels.
        frames: An animation's pictures.
        animation_megapixels: An animation's pictures together, in millions of pixels.
        video_megabytes: A video's size, in millions of bytes.
        video_seconds: A video's length.
        video_side: A video's width or height, in pixels.
    """

    megabytes: float = 50
    megapixels: float = 100
    side: int = 32_767
    frames: int = 300
    animation_megapixels: float = 200
    video_megabytes: float = 200
    video_seconds: float = 180
    video_side: int = 1920

    def check_size(self, size: int, *, video: bool = False) -> None:
        """Check a file's size in bytes.

        Raises:
            Unusable: It is empty or too large.
        """
        if size == 0:
            raise Unusable("empty", "the file is empty")
        most = self.video_megabytes if video else self.megabytes
        if size > most * 1e6:
            raise Unusable("too_large", f"the file has {size / 1e6:.1f} MB, more than {most:g}")

    def check_pixels(self, width: int, height: int, frames: int = 1) -> None:
        """Check a picture's width and height in pixels, and the number of its frames.

        Raises:
            Unusable: It is too wide or high, or has too many pixels or frames.
        """
        size = f"the picture has {width} x {height} pixels"
        if max(width, height) > self.side:
            raise Unusable("too_many_pixels", f"{size}, more than {self.side} on a side")
        if width * height > self.megapixels * 1e6:
            raise Unusable("too_many_pixels", f"{size}, more than {self.megapixels:g} million")
        if frames > self.frames:
            raise Unusable("too_many_frames", f"the animation has {frames} frames, more than {self.frames}")
        if frames > 1 and width * height * frames > self.animation_megapixels * 1e6:
            raise Unusable(
                "too_many_pixels",
                f"the animation has {frames} frames of {width} x {height} pixels, "
                f"together more than {self.animation_megapixels:g} million",
            )


@dataclass(frozen=True, slots=True)
class Rendition:
    """One file to serve.

    Attributes:
        name: Its file name, such as `1600.webp`.
        role: `picture` for the whole picture, `square` for a cut from its middle, `animation` or `video`.
        content_type: Its media type.
        width: In pixels.
        height: In pixels.
        bytes: Its size.
    """

    name: str
    role: str
    content_type: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Media:
    """What was made of an upload.

    Attributes:
        format: The upload's format, as its bytes tell.
        width: Its width as seen, turned upright, in pixels.
        height: Its height as seen, in pixels.
        blurhash: A placeholder of some 30 characters (BlurHash, Wolt 2019).
        renditions: The files to serve, the largest first.
        seconds: How long a video lasts; None for a picture.
    """

    format: str
    width: int
    height: int
    blurhash: str
    renditions: tuple[Rendition, ...]
    seconds: float | None = None
