"""The pure core: what goes in as a file comes out upright, in sRGB, small enough, and with nothing but pixels."""

import io
from pathlib import Path
from typing import Any

import blurhash
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from renditions import Limits, Picture, Rendition, Unusable, make_renditions

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)


def quarters(width: int = 400, height: int = 300) -> Image.Image:
    """A picture that shows which way is up: red and green above, blue and grey below."""
    image = Image.new("RGB", (width, height), GREY)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def make(
    tmp_path: Path, image: Image.Image | bytes, form: str = "PNG", limits: Limits | None = None, **save: Any
) -> Picture:
    path = tmp_path / "upload"
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, form, **save)
    return make_renditions(path, limits or Limits())


def shown(rendition: Rendition) -> Image.Image:
    return Image.open(io.BytesIO(rendition.data))


def by_name(picture: Picture) -> dict[str, Rendition]:
    return {rendition.name: rendition for rendition in picture.renditions}


def corners(image: Image.Image) -> list[Any]:
    """The colours near the corners, clockwise from the upper left."""
    image, (w, h) = image.convert("RGB"), image.size
    at = [(w // 8, h // 8), (w - w // 8, h // 8), (w - w // 8, h - h // 8), (w // 8, h - h // 8)]
    return [image.getpixel(point) for point in at]


def close(found: Any, expected: Any, by: int = 12) -> bool:
    return bool(np.all(np.abs(np.asarray(found, int) - np.asarray(expected, int)) <= by))


def test_a_photo_comes_out_in_every_size_and_both_formats(tmp_path: Path) -> None:
    picture = make(tmp_path, quarters(2000, 1500), "JPEG")
    assert (picture.format, picture.width, picture.height) == ("JPEG", 2000, 1500)
    sizes = {"1600": (1600, 1200), "800": (800, 600), "320": (320, 240), "square": (150, 150)}
    expected = [(f"{n}.{e}", w, h) for n, (w, h) in sizes.items() for e in ("webp", "jpg")]
    assert [(r.name, r.width, r.height) for r in picture.renditions] == expected
    for rendition in picture.renditions:
        image = shown(rendition)
        assert image.size == (rendition.width, rendition.height)
        assert f"image/{image.format.lower()}" == rendition.content_type  # type: ignore[union-attr]
        assert rendition.square == rendition.name.startswith("square")
        assert close(corners(image), [RED, GREEN, GREY, BLUE])


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((1600, 900), ["1600", "800", "320", "square"]),
        ((1000, 500), ["1000", "800", "320", "square"]),
        ((320, 200), ["320", "square"]),
        ((90, 120), ["120", "square"]),
        ((1, 1), ["1", "square"]),
    ],
)
def test_nothing_is_made_larger(tmp_path: Path, size: tuple[int, int], names: list[str]) -> None:
    picture = make(tmp_path, Image.new("RGB", size, RED))
    assert [r.name for r in picture.renditions] == [f"{n}.{e}" for n in names for e in ("webp", "jpg")]
    assert (picture.renditions[0].width, picture.renditions[0].height) == size
    side = min(150, *size)
    assert (picture.renditions[-1].width, picture.renditions[-1].height) == (side, side)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_square_of_a_long_picture_is_cut_from_the_original(tmp_path: Path, form: str) -> None:
    picture = make(tmp_path, quarters(4000, 200), form)
    assert (by_name(picture)["1600.jpg"].height, by_name(picture)["square.jpg"].height) == (80, 150)
    assert close(corners(shown(by_name(picture)["square.jpg"])), [RED, GREEN, GREY, BLUE])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_comes_out_upright(tmp_path: Path, orientation: int, form: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quarters().transpose(undo[orientation]) if orientation > 1 else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = make(tmp_path, stored, form, exif=exif)
    assert (picture.width, picture.height) == (400, 300)
    for rendition in picture.renditions:
        assert close(corners(shown(rendition)), [RED, GREEN, GREY, BLUE]), rendition.name


def test_nothing_but_pixels_is_served(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    image = quarters()
    image.info["comment"] = b"secret comment"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    secret = {"exif": exif, "xmp": b"<x>secret xmp</x>", "icc_profile": profile}
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret text")
    for form, save in (
        ("JPEG", {**secret, "comment": b"secret comment"}),
        ("WEBP", secret),
        ("PNG", {"exif": exif, "icc_profile": profile, "pnginfo": text}),
        ("AVIF", secret),
        ("TIFF", {"exif": exif, "icc_profile": profile}),
    ):
        for rendition in make(tmp_path, image, form, **save).renditions:
            for trace in (b"Exif", b"EXIF", b"secret", b"ICC", b"XMP", b"adobe"):
                assert trace not in rendition.data, (form, rendition.name, trace)
            assert not shown(rendition).getexif()


def test_transparency_is_kept_and_shown_on_white_in_a_jpeg(tmp_path: Path) -> None:
    image = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    image.paste((220, 30, 30, 255), (0, 0, 200, 300))
    files = by_name(make(tmp_path, image))
    webp, jpeg = shown(files["320.webp"]), shown(files["320.jpg"])
    assert webp.mode == "RGBA"
    assert webp.getchannel("A").getpixel((300, 100)) == 0
    assert webp.getchannel("A").getpixel((20, 100)) == 255
    assert close(jpeg.getpixel((300, 100)), (255, 255, 255))
    assert close(jpeg.getpixel((20, 100)), RED)


def test_transparency_that_hides_nothing_is_dropped(tmp_path: Path) -> None:
    files = by_name(make(tmp_path, quarters().convert("RGBA")))
    assert shown(files["320.webp"]).mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_shows_its_colours(tmp_path: Path, mode: str) -> None:
    image = quarters()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype("uint16") * 257)
    elif mode != "RGB":
        image = image.convert(mode, dither=Image.Dither.NONE)
    expected = corners(image.convert("RGB")) if mode != "I;16" else corners(quarters().convert("L"))
    files = by_name(make(tmp_path, image))
    assert close(corners(shown(files["320.jpg"])), expected)


def test_a_transparent_palette_and_a_transparent_colour_are_transparent(tmp_path: Path) -> None:
    palette = quarters().quantize(16)
    reds_index = palette.getpixel((10, 10))
    for image, transparency in ((palette, reds_index), (quarters(), RED), (quarters().convert("L"), 87)):
        files = by_name(make(tmp_path, image, transparency=transparency))
        alpha = shown(files["320.webp"]).getchannel("A")
        assert alpha.getpixel((40, 40)) == 0 and alpha.getpixel((300, 200)) == 255, image.mode


def test_cmyk_comes_out_in_its_colours(tmp_path: Path) -> None:
    files = by_name(make(tmp_path, quarters().convert("CMYK"), "JPEG", quality=95))
    assert close(corners(shown(files["320.jpg"])), [RED, GREEN, GREY, BLUE])


def test_a_profile_is_converted_not_dropped(tmp_path: Path) -> None:
    # A profile whose red and blue are exchanged shows beyond doubt that it was applied.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    for mode, form in (("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "PNG")):
        files = by_name(make(tmp_path, quarters().convert(mode), form, icc_profile=bytes(profile)))
        (red_now, *_, blue_now) = corners(shown(files["320.webp"]))
        assert close((red_now, blue_now), (BLUE, RED), by=25), mode


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_a_broken_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    files = by_name(make(tmp_path, quarters(), "JPEG", icc_profile=profile))
    assert close(corners(shown(files["320.jpg"])), [RED, GREEN, GREY, BLUE])


def test_a_placeholder_shows_roughly_what_the_picture_shows(tmp_path: Path) -> None:
    picture = make(tmp_path, quarters(), "JPEG")
    pixels = np.asarray(blurhash.decode(picture.blurhash, 16, 12), dtype=int)
    assert pixels[1, 1].argmax() == 0 and pixels[1, 14].argmax() == 1 and pixels[10, 1].argmax() == 2


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    first, *others = (make(tmp_path, quarters(), "JPEG").renditions for _ in range(10))
    assert all(other == first for other in others)


def refused(tmp_path: Path, content: bytes, limits: Limits | None = None) -> Unusable:
    with pytest.raises(Unusable) as refusal:
        make(tmp_path, content, limits=limits)
    return refusal.value


def test_a_file_is_refused_for_its_size_before_it_is_read(tmp_path: Path) -> None:
    assert refused(tmp_path, b"").code == "empty"
    refusal = refused(tmp_path, b"\xff\xd8\xff" + b"\0" * 1_200_000, Limits(megabytes=1))
    assert (refusal.code, str(refusal)) == ("too_large", "the file has 1.2 MB, more than 1")


def test_a_picture_is_refused_for_its_pixels_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new("1", (2000, 1000)).save(buffer, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    refusal = refused(tmp_path, buffer.getvalue(), Limits(megapixels=1.5))
    assert (refusal.code, str(refusal)) == (
        "too_many_pixels",
        "the picture has 2000 x 1000 pixels, more than 1.5 million",
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<svg onload='alert(1)'/>", "SVG"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "HTML"),
        (b"8BPS\0\1", "Photoshop"),
        (b"PK\x03\x04", "ZIP or Office"),
        (b"MZ\x90\0", "Windows program"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "MP4 video"),
        (b"hello", "of an unknown kind"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes, kind: str) -> None:
    refusal = refused(tmp_path, content)
    assert refusal.code == "foreign"
    assert f"the file is {kind}, not a picture" in str(refusal)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
def test_a_file_cut_in_half_is_broken(tmp_path: Path, form: str) -> None:
    buffer = io.BytesIO()
    rng = np.random.default_rng(7)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype="uint8")).save(buffer, form)
    refusal = refused(tmp_path, buffer.getvalue()[: buffer.tell() // 2])
    assert refusal.code == "broken"
    assert f"the file is a broken {form}: " in str(refusal)
