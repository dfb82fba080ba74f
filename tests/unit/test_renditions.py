"""The pure core: what goes in as a file comes out upright, in sRGB, small enough, and with nothing but pixels."""

import io
import re
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blurhash
import numpy as np
import pillow_heif
import pytest
from pictures import BLUE, GREEN, GREY, RED, SRGB, by_definition, by_light, by_srgb, close, corners, quarters
from PIL import Image, ImageCms, PngImagePlugin

import colours
import png
import renditions
from kinds import kind_of
from renditions import make_renditions
from terms import Limits, Media, Unusable

pillow_heif.register_heif_opener()


@dataclass
class Made:
    """What came out: the media, and the files by name."""

    media: Media
    files: dict[str, bytes]

    def shown(self, name: str) -> Image.Image:
        return Image.open(io.BytesIO(self.files[name]))


def encoded(image: Image.Image, form: str = "PNG", **save: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **save)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes, damage: int = 0) -> bytes:
    return struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data) ^ damage)


def make(content: bytes | Image.Image, form: str = "PNG", limits: Limits | None = None, **save: Any) -> Made:
    """Make the renditions of a file, or of a picture saved in a format."""
    content = encoded(content, form, **save) if isinstance(content, Image.Image) else content
    with tempfile.TemporaryDirectory() as folder:
        upload = Path(folder, "upload")
        upload.write_bytes(content)
        media = make_renditions(upload, kind_of(content) or "unknown", Path(folder), limits or Limits())
        files = {rendition.name: Path(folder, rendition.name).read_bytes() for rendition in media.renditions}
        assert {path.name for path in Path(folder).iterdir()} == {"upload", *files}
    return Made(media, files)


def test_a_photo_comes_out_in_every_size_and_both_formats() -> None:
    made = make(quarters(2000, 1500), "JPEG")
    assert (made.media.format, made.media.width, made.media.height) == ("JPEG", 2000, 1500)
    sizes = {"1600": (1600, 1200), "800": (800, 600), "320": (320, 240), "square": (150, 150)}
    expected = [(f"{n}.{e}", w, h) for n, (w, h) in sizes.items() for e in ("webp", "jpg")]
    assert [(r.name, r.width, r.height) for r in made.media.renditions] == expected
    for rendition in made.media.renditions:
        image = made.shown(rendition.name)
        assert image.size == (rendition.width, rendition.height)
        assert f"image/{image.format.lower()}" == rendition.content_type  # type: ignore[union-attr]
        assert rendition.role == ("square" if rendition.name.startswith("square") else "picture")
        assert rendition.bytes == len(made.files[rendition.name])
        assert close(corners(image), [RED, GREEN, GREY, BLUE])


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((1600, 900), ["1600", "800", "320", "square"]),
        ((1000, 500), ["1000", "800", "320", "square"]),
        ((320, 200), ["320", "square"]),
        ((90, 120), ["120", "square"]),
        ((1, 1), ["1", "square"]),
        ((1, 200), ["200", "square"]),
        ((200, 1), ["200", "square"]),
    ],
)
def test_nothing_is_made_larger(size: tuple[int, int], names: list[str]) -> None:
    renditions = make(Image.new("RGB", size, RED)).media.renditions
    assert [r.name for r in renditions] == [f"{n}.{e}" for n in names for e in ("webp", "jpg")]
    assert (renditions[0].width, renditions[0].height) == size
    side = min(150, *size)
    assert (renditions[-1].width, renditions[-1].height) == (side, side)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_square_of_a_long_picture_is_cut_from_the_original(form: str) -> None:
    made = make(quarters(4000, 200), form)
    assert (made.shown("1600.jpg").size, made.shown("square.jpg").size) == ((1600, 80), (150, 150))
    assert close(corners(made.shown("square.jpg")), [RED, GREEN, GREY, BLUE])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_orientation_comes_out_upright(orientation: int, form: str) -> None:
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
    content = encoded(stored, form, exif=exif.tobytes())
    turned_by_properties = form in ("AVIF", "HEIF") and orientation > 1
    assert (b"irot" in content or b"imir" in content) == turned_by_properties
    made = make(content)
    assert (made.media.width, made.media.height) == (400, 300)
    for name in made.files:
        assert close(corners(made.shown(name)), [RED, GREEN, GREY, BLUE]), name
    differences = np.asarray(made.shown("400.jpg"), int) - np.asarray(quarters(), int)
    assert np.abs(differences).mean() < 2  # pixel by pixel


def test_the_exif_orientation_of_a_heif_is_not_for_viewers() -> None:
    """It is turned by a property of its own, which the decoder applies (ISO/IEC 23008-12, annex A)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert close(corners(make(quarters(), "HEIF", exif=exif).shown("320.jpg")), [RED, GREEN, GREY, BLUE])


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>6</tiff:Orientation>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
def test_only_exif_turns_a_picture(form: str) -> None:
    """Chromium turns none of these."""
    text = PngImagePlugin.PngInfo()
    upright = XMP.replace(b">6<", b">1<")  # the HEIF's encoder heeds it
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    save = {"PNG": {"pnginfo": text}, "TIFF": {"tiffinfo": {700: XMP}}, "HEIF": {"xmp": upright}}
    content = encoded(quarters(), form, **save.get(form, {"xmp": XMP})).replace(upright, XMP)
    assert XMP in content
    assert close(corners(make(content).shown("400.jpg")), [RED, GREEN, GREY, BLUE])


def test_exif_in_a_pngs_text_does_not_turn_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw, text = exif.tobytes(), PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    made = make(quarters(), pnginfo=text)
    assert close(corners(made.shown("400.jpg")), [RED, GREEN, GREY, BLUE])


def test_nothing_but_pixels_is_served() -> None:
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
        ("HEIF", secret),
        ("TIFF", {"exif": exif, "icc_profile": profile}),
    ):
        made = make(image, form, **save)
        for name, data in made.files.items():
            for trace in (b"Exif", b"EXIF", b"secret", b"ICC", b"XMP", b"adobe"):
                assert trace not in data, (form, name, trace)
            assert not made.shown(name).getexif()


def test_transparency_is_kept_and_shown_on_white_in_a_jpeg() -> None:
    image = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    image.paste((220, 30, 30, 255), (0, 0, 200, 300))
    made = make(image)
    webp, jpeg = made.shown("320.webp"), made.shown("320.jpg")
    assert webp.mode == "RGBA"
    assert webp.getchannel("A").getpixel((300, 100)) == 0
    assert webp.getchannel("A").getpixel((20, 100)) == 255
    assert close(jpeg.getpixel((300, 100)), (255, 255, 255))
    assert close(jpeg.getpixel((20, 100)), RED)


def test_a_picture_of_one_bit_may_have_transparency() -> None:
    image = Image.new("1", (40, 30), 1)
    image.paste(0, (0, 0, 20, 30))
    shown = make(image, transparency=0).shown("40.webp").convert("RGBA")
    assert shown.getpixel((5, 5))[3] == 0  # type: ignore[index]
    assert close(shown.getpixel((35, 5)), (255, 255, 255, 255))


def test_transparency_that_hides_nothing_is_dropped() -> None:
    made = make(quarters().convert("RGBA"))
    assert made.shown("320.webp").mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_shows_its_colours(mode: str) -> None:
    image = quarters()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype("uint16") * 257)
    elif mode != "RGB":
        image = image.convert(mode, dither=Image.Dither.NONE)
    expected = corners(image.convert("RGB")) if mode != "I;16" else corners(quarters().convert("L"))
    made = make(image)
    assert close(corners(made.shown("320.jpg")), expected)


def test_a_transparent_palette_and_a_transparent_colour_are_transparent() -> None:
    palette = quarters().quantize(16)
    reds_index = palette.getpixel((10, 10))
    for image, transparency in ((palette, reds_index), (quarters(), RED), (quarters().convert("L"), 87)):
        made = make(image, transparency=transparency)
        alpha = made.shown("320.webp").getchannel("A")
        assert alpha.getpixel((40, 40)) == 0 and alpha.getpixel((300, 200)) == 255, image.mode


def raw_png(rows: Any, depth: int, colour_type: int, *chunks: bytes) -> bytes:
    """A PNG whose samples are given as they are to be written."""
    bits = depth * (rows.shape[2] if rows.ndim == 3 else 1)
    packed = (
        rows.astype(">u2").tobytes()
        if depth == 16
        else np.packbits(
            np.unpackbits(rows.astype("uint8")[..., None], axis=-1)[..., 8 - depth :].reshape(len(rows), -1), axis=1
        ).tobytes()
    )
    step = rows.shape[1] * bits // 8
    lines = b"".join(b"\0" + packed[at : at + step] for at in range(0, len(packed), step))
    header = struct.pack(">IIBBBBB", rows.shape[1], len(rows), depth, colour_type, 0, 0, 0)
    content = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_of_any_depth_may_stand_for_nothing(depth: int) -> None:
    most = (1 << depth) - 1
    clear = {16: 0xC234, 8: 200}.get(depth, most - 1 if depth > 1 else 1)
    rows = np.full((32, 32), 0)
    rows[:, 16:] = clear
    rows[:8, 16:] = clear - 1  # of 16 bits, another in the low byte only
    shown = make(raw_png(rows, depth, 0, chunk(b"tRNS", struct.pack(">H", clear)))).shown("32.webp")
    alpha = shown.getchannel("A")
    assert [alpha.getpixel(at) for at in ((4, 24), (28, 24), (28, 4))] == [255, 0, 255]
    assert close(shown.convert("RGB").getpixel((28, 4)), [round((clear - 1) / most * 255)] * 3)


def test_a_colour_of_16_bits_may_stand_for_nothing() -> None:
    rows = np.tile(np.array([0x8012, 0x4034, 0xC056]), (32, 32, 1))
    rows[:, :16, 2] += 1
    content = raw_png(rows, 16, 2, chunk(b"tRNS", struct.pack(">3H", 0x8012, 0x4034, 0xC056)))
    shown = make(content).shown("32.webp")
    assert [shown.getchannel("A").getpixel(at) for at in ((4, 4), (28, 4))] == [255, 0]
    assert close(shown.convert("RGB").getpixel((4, 4)), (0x80, 0x40, 0xC0))


def test_the_frames_of_an_animation_may_have_a_grey_of_few_bits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((8, 16))
    rows[:, 8:] = 5
    content = raw_png(rows, 4, 0, chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"tRNS", b"\0\5"))
    control = [chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 16, 8, 0, 0, 1, 2, 0, 0)) for number in (0, 1)]
    data = zlib.compress(b"".join(b"\0" + b"\x55" * 4 + b"\xaa" * 4 for _ in range(8)))
    at = content.index(b"IDAT") - 4
    content = content[:at] + control[0] + content[at:-12] + control[1] + chunk(b"fdAT", struct.pack(">I", 2) + data)
    for frame, clear in ((make(content).shown("16.webp"), [255, 0]), (second_frame(content, monkeypatch), [0, 255])):
        assert [frame.getchannel("A").getpixel(at) for at in ((2, 4), (13, 4))] == clear


def test_cmyk_comes_out_in_its_colours() -> None:
    made = make(quarters().convert("CMYK"), "JPEG", quality=95)
    assert close(corners(made.shown("320.jpg")), [RED, GREEN, GREY, BLUE])


def test_a_profile_is_converted_not_dropped() -> None:
    # A profile whose red and blue are exchanged shows beyond doubt that it was applied.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    for mode, form in (("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "PNG")):
        made = make(quarters().convert(mode), form, icc_profile=bytes(profile))
        (red_now, *_, blue_now) = corners(made.shown("320.webp"))
        assert close((red_now, blue_now), (BLUE, RED), by=25), mode


def test_a_png_is_read_alike_whoever_inflates_it() -> None:
    """Pixel by pixel: in one chunk or many, of one block or none, with what expands a thousandfold."""
    long = Image.blend(quarters(700, 500), noise((500, 700)), 0.3)
    for image in (long, long.convert("L"), long.quantize(16), Image.new("RGB", (3000, 2000), RED), quarters(1, 1)):
        for level in (0, 1, 9):
            content = encoded(image, compress_level=level)
            at = content.index(b"IDAT") - 4
            (size,) = struct.unpack_from(">I", content, at)
            data = content[at + 8 : at + 8 + size]
            split = b"".join(chunk(b"IDAT", data[place : place + 5000]) for place in range(0, size, 5000))
            for whole in (content, content[:at] + split + content[at + 12 + size :]):
                inflated = PngImagePlugin.PngImageFile(png.Inflated(whole))  # type: ignore[arg-type]
                assert inflated.tobytes() == image.tobytes()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_grey_picture_may_have_a_profile_for_colours(form: str) -> None:
    linear = colours.profile_of(9, 8)
    made = make(quarters().convert("L"), form, icc_profile=linear)
    expected = [[round(255 * by_srgb(grey / 255))] * 3 for (grey, *_) in corners(quarters().convert("L"))]
    assert close(corners(made.shown("320.jpg")), expected, by=4)


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def points(*xy: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in xy)))


SCREENS_POINTS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_POINTS = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
NAMED_SRGB = chunk(b"cICP", bytes((1, 13, 0, 1)))


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA"])
def test_a_pngs_gamma_is_that_of_its_light(mode: str) -> None:
    content = encoded(quarters().convert(mode))
    for value in (1.0, 0.6, 0.3):
        found = corners(make(content[:33] + gamma(value) + content[33:]).shown("320.jpg"))
        light = (np.array(corners(quarters().convert(mode))) / 255) ** (1 / value)
        assert close(found, 255 * by_srgb(light), by=8), value


def test_a_pngs_colours_are_those_it_measures() -> None:
    content = encoded(Image.new("RGB", (64, 64), (200, 100, 50)))
    for corners_of_it, extra in ((P3, points(*P3_POINTS)), (SRGB, points(*SCREENS_POINTS))):
        found = make(content[:33] + gamma(0.45455) + extra + content[33:]).shown("64.jpg").getpixel((32, 32))
        light = (np.array((200, 100, 50)) / 255) ** 2.2
        assert close(found, by_light(corners_of_it, light), by=6)


@pytest.mark.parametrize(
    "extra",
    [
        gamma(0.45455),
        gamma(0.44),
        gamma(0),
        points(*P3_POINTS),  # alone it says nothing
        gamma(1) + chunk(b"sRGB", b"\0"),
        gamma(1) + NAMED_SRGB,
        gamma(1) + points(*[0.3] * 8),  # no colours at all
        gamma(1) + points(*[0] * 8),
        gamma(0.00001) + points(*[40_000.0] * 8),
        chunk(b"gAMA", bytes(8)),
        NAMED_SRGB + chunk(b"iCCP", b"p\0\0" + zlib.compress(colours.profile_of(9, 8) or b"")),
    ],
)
def test_a_png_is_in_a_screens_colours_where_nothing_says_otherwise(extra: bytes) -> None:
    content = encoded(quarters())
    made = make(content[:33] + extra + content[33:])
    assert close(corners(made.shown("320.jpg")), [RED, GREEN, GREY, BLUE])


def test_a_damaged_png_keeps_its_colours() -> None:
    content, damage = encoded(quarters()), chunk(b"zTXt", b"history\0\0" + zlib.compress(bytes(3_000_000)))
    expected = corners(make(content[:33] + gamma(1) + content[33:]).shown("320.jpg"))
    assert not close(expected, [RED, GREEN, GREY, BLUE])
    for extra in (gamma(1), chunk(b"cICP", bytes((1, 8, 0, 1)))):
        assert close(corners(make(content[:33] + extra + damage + content[33:]).shown("320.jpg")), expected, by=4)


def described(primaries: int, transfer: int, colour: tuple[int, int, int]) -> Any:
    """How a PNG and a HEIC of one colour come out whose colours are named by numbers alone."""
    picture = Image.new("RGB", (64, 64), colour)
    plain = encoded(picture)
    named = plain[:33] + chunk(b"cICP", bytes((primaries, transfer, 0, 1))) + plain[33:]
    heic = encoded(
        picture, "HEIF", quality=100, chroma=444, color_primaries=primaries, transfer_characteristics=transfer
    )
    found = [make(content).shown("64.jpg").getpixel((32, 32)) for content in (named, heic)]
    assert close(found[0], found[1], by=6)
    return found[0]


P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
WIDE = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
PAL = ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))
NTSC = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))


@pytest.mark.parametrize(
    ("primaries", "transfer", "corners_of_it"),
    [(12, 13, P3), (9, 14, WIDE), (9, 1, WIDE), (12, 2, P3), (5, 13, PAL), (6, 13, NTSC), (7, 13, NTSC)],
)
def test_colours_named_by_numbers_are_converted(primaries: int, transfer: int, corners_of_it: Any) -> None:
    for colour in ((200, 100, 50), (60, 150, 90), (255, 255, 255), (0, 0, 0)):
        found = described(primaries, transfer, colour)
        assert close(found, by_definition(corners_of_it, colour), by=6), (colour, found)


def test_colours_of_every_screen_stay_as_they_are() -> None:
    for primaries, transfer in ((1, 13), (2, 2), (1, 1)):
        assert close(described(primaries, transfer, (200, 100, 50)), (200, 100, 50), by=6)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_brought_to_standard_range(transfer: int) -> None:
    white = {16: 148, 18: 191}[transfer]  # signals of 203 candelas, the light of paper (ITU-R BT.2408, table 1)
    black, grey, paper, most = (described(9, transfer, (v, v, v)) for v in (0, white // 2, white, 255))
    assert close(black, (0, 0, 0), by=3) and close(most, (255, 255, 255), by=3)
    assert 170 < paper[0] < 210 and 20 < grey[0] < paper[0] - 60


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    made = make(quarters(), "JPEG", icc_profile=profile)
    assert close(corners(made.shown("320.jpg")), [RED, GREEN, GREY, BLUE])


def test_a_placeholder_shows_roughly_what_the_picture_shows() -> None:
    media = make(quarters(), "JPEG").media
    pixels = np.asarray(blurhash.decode(media.blurhash, 16, 12), dtype=int)
    assert pixels[1, 1].argmax() == 0 and pixels[1, 14].argmax() == 1 and pixels[10, 1].argmax() == 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
def test_a_large_picture_is_made_in_bands_without_seams_or_shifts(mode: str) -> None:
    slope = Image.linear_gradient("L").resize((3301, 2507)).rotate(20, fillcolor=128)
    bands = [slope, slope.transpose(Image.Transpose.ROTATE_180), slope.point(lambda value: 255 - value), slope]
    whole = Image.merge(mode, bands[: len(Image.new(mode, (1, 1)).getbands())])
    found = renditions._first_scaled(whole, was=whole.size)
    expected = whole.resize((1600, 1215), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(found, int) - np.asarray(expected, int))
    assert (found.mode, found.size) == (mode, (1600, 1215))
    assert difference.mean() < 0.5
    rows = difference.reshape(1215, -1).mean(axis=1)
    borders = np.arange(32, 1215, 32)
    assert rows[borders].mean() < 1.2 * rows.mean() + 0.05


def test_the_same_file_gives_the_same_bytes() -> None:
    first, *others = (make(quarters(), "JPEG").files for _ in range(10))
    assert all(other == first for other in others)


def refused(content: bytes, **limits: Any) -> Unusable:
    with pytest.raises(Unusable) as refusal:
        make(content, limits=Limits(**limits))
    return refusal.value


def test_a_file_is_refused_for_its_size_before_it_is_read() -> None:
    assert refused(b"").code == "empty"
    refusal = refused(b"\xff\xd8\xff" + b"\0" * 1_200_000, megabytes=1)
    assert (refusal.code, str(refusal)) == ("too_large", "the file has 1.2 MB, more than 1")


def test_a_picture_is_refused_for_its_pixels_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("1", (2000, 1000)).save(buffer, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    refusal = refused(buffer.getvalue(), megapixels=1.5)
    assert (refusal.code, str(refusal)) == (
        "too_many_pixels",
        "the picture has 2000 x 1000 pixels, more than 1.5 million",
    )


KINDS = [
    (b"%PDF-1.7\n", "PDF"),
    (b"<?xml version='1.0'?>\n<!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    (b"<svg onload='alert(1)'/>", "SVG"),
    (b"<?xml version='1.0'?><rss/>", "XML"),
    (b"<!DOCTYPE html><script>alert(1)</script>", "HTML"),
    (b"8BPS\0\1", "Photoshop"),
    (b"PK\x03\x04", "ZIP or Office"),
    (b"MZ\x90\0", "Windows program"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "MP4 video"),
    (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "QuickTime video"),
    (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
    (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc", "HEIF sequence"),
    (b"\0\0\0\x1cftyphevc\0\0\0\0msf1mif1heic", "HEIF"),
    (b"\0\0\0\x18ftypavis\0\0\0\0msf1avis", "AVIF"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "Canon raw picture"),
    (b"II*\0\x10\0\0\0CR\2\0", "Canon raw picture"),
    (b"use wide::*;", None),
    (b"hello", None),
    (b"", None),
]


@pytest.mark.parametrize(("content", "kind"), KINDS)
def test_a_file_is_known_by_its_bytes(content: bytes, kind: str | None) -> None:
    assert kind_of(content) == kind


def noise(size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 255, (*size, 3), dtype="uint8"))


FORMS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF", "TIFF", "BMP"]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_in_half_is_broken(form: str) -> None:
    content = encoded(noise(), form)
    refusal = refused(content[: len(content) // 2])
    assert refusal.code == "broken"
    assert re.match(f"the file (is a broken {form}: |begins like {form}, but holds no picture)", str(refusal))
    assert "/" not in str(refusal)  # no path of ours


def test_a_heic_that_lacks_a_tile_is_broken() -> None:
    """Its decoder paints the tile green, and calls it a picture."""
    photo = Image.blend(quarters(1024, 512), noise((512, 1024)), 0.15)
    content = encoded(photo, "HEIF", quality=80, tile_size=512)
    if b"grid" not in content:
        pytest.skip("the newest encoder for Python 3.11 makes no tiles")
    assert close(corners(make(content).shown("320.jpg")), [RED, GREEN, GREY, BLUE], by=60)
    for missing in (1, 1000, len(content) // 4):
        refusal = refused(content[:-missing])
        assert (refusal.code, str(refusal)) == (
            "broken",
            f"the file is a broken HEIF: the file ends {missing} bytes before its picture does",
        )


def of_two_lists(content: bytes) -> bytes:
    """An AVIF of two items whose properties are told by a list for each, as an old encoder wrote them."""
    at = content.index(b"ipma") - 4
    size, _, sort, count = struct.unpack_from(">I4s4sI", content, at)
    first = 3 + content[at + 18]
    entries = content[at + 16 : at + size]
    assert count == 2
    lists = b"".join(
        struct.pack(">I4s4sI", 16 + len(entry), b"ipma", sort, 1) + entry
        for entry in (entries[first:], entries[:first])
    )
    longer = bytearray(content[:at] + lists + content[at + size :])
    for box in (b"meta", b"iprp"):
        place = longer.index(box) - 4
        struct.pack_into(">I", longer, place, struct.unpack_from(">I", longer, place)[0] + 16)
    place = longer.index(b"iloc") + 12  # version 0: an item's number, where its data is, and of how many parts
    for item in range(2):
        (offset,) = struct.unpack_from(">I", longer, place + 14 * item + 6)
        struct.pack_into(">I", longer, place + 14 * item + 6, offset + 16)
    return bytes(longer)


def test_an_avif_may_tell_its_properties_in_two_lists() -> None:
    """The standard asks for one, and Chromium shows it."""
    image = quarters().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 100))
    one = encoded(image, "AVIF")
    two = of_two_lists(one)
    assert two.count(b"ipma") == 2 * one.count(b"ipma") == 2
    assert make(two).files == make(one).files


@pytest.mark.parametrize("save", [{}, {"progressive": True}])
def test_a_jpeg_that_lacks_its_end_is_shown_as_far_as_it_goes(save: dict[str, Any]) -> None:
    photo = Image.blend(quarters(640, 480), noise((480, 640)), 0.1)
    content = encoded(photo, "JPEG", quality=95, **save)
    for missing in (2, 200):
        assert close(corners(make(content[:-missing]).shown("320.jpg")), [RED, GREEN, GREY, BLUE], by=40)


def test_a_progressive_jpeg_that_ends_within_a_table_is_shown_as_far_as_it_goes() -> None:
    content = encoded(Image.blend(quarters(640, 480), noise((480, 640)), 0.1), "JPEG", progressive=True)
    tables = [at for at in range(len(content)) if content.startswith(b"\xff\xc4", at)]
    scans = [at for at in range(len(content)) if content.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for start in (*tables[-3:], *scans[-3:]):
        for more in (1, 3, 9):
            assert close(corners(make(content[: start + more]).shown("320.jpg")), [RED, GREEN, GREY, BLUE], by=60)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP"])
def test_a_png_gif_or_bmp_that_lacks_its_end_is_shown_as_far_as_it_goes(form: str) -> None:
    content = encoded(Image.blend(quarters(640, 480), noise((480, 640)), 0.1), form)
    for missing in (2, 13, len(content) // 50):
        found = corners(make(content[:-missing]).shown("320.jpg"))
        assert close(found, [RED, GREEN, GREY, BLUE], by=60), missing


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"history\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"sRGB", b""),
        chunk(b"pHYs", bytes(9), damage=1),
        chunk(b"tRNS", b"no", damage=1),
        chunk(b"tIME", b""),
        chunk(b"acTL", bytes(8)) + chunk(b"fcTL", bytes(26)),
        chunk(b"acTL", b"\0"),
    ],
)
def test_a_png_is_no_worse_for_what_is_beside_its_picture(extra: bytes) -> None:
    content = encoded(quarters())
    made = make(content[:33] + extra + content[33:])
    assert close(corners(made.shown("320.jpg")), [RED, GREEN, GREY, BLUE])
    assert "animation.webp" not in made.files


def test_a_palette_may_hold_more_than_its_depth_can_address() -> None:
    content = encoded(Image.new("P", (8, 8), 1), bits=1)
    at = content.index(b"PLTE") - 4
    long = chunk(b"PLTE", bytes((9, 9, 9, *RED, *BLUE)))
    made = make(content[:at] + long + content[at + 12 + content[at + 3] :])
    assert close(made.shown("8.webp").convert("RGB").getpixel((4, 4)), RED)


def test_a_png_whose_palette_or_header_is_damaged_is_broken() -> None:
    content = bytearray(encoded(quarters().quantize(4)))
    content[content.index(b"PLTE") + 5] ^= 1
    assert "its PLTE chunk is damaged" not in str(refused(bytes(content)))
    assert refused(bytes(content)).code == "broken"


def test_what_follows_a_picture_is_ignored() -> None:
    for form in ("JPEG", "PNG", "WEBP", "GIF"):
        made = make(encoded(quarters(), form) + b"PK\x03\x04 secret <script>")
        assert not any(b"secret" in data for data in made.files.values())


def test_an_mpo_is_the_picture_it_starts_with() -> None:
    made = make(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))])
    assert made.media.format == "JPEG"
    assert close(corners(made.shown("320.jpg")), [RED, GREEN, GREY, BLUE])


def raw_bmp(
    bits: int,
    data: bytes,
    size: tuple[int, int],
    *fields: int,
    header: int = 40,
    compression: int | None = None,
    palette: bytes = b"",
    count: int = 0,
) -> bytes:
    """A BMP whose pixels are given as they are to be written, the lowest row first."""
    compression = (3 if fields else 0) if compression is None else compression
    head = struct.pack("<IiiHHIIIIII", header, *size, 1, bits, compression, len(data), 0, 0, count, 0)
    masks = struct.pack(f"<{len(fields)}I", *fields)
    head = (head + masks).ljust(header, b"\0") + palette
    return b"BM" + struct.pack("<IxxxxI", 14 + len(head) + len(data), 14 + len(head)) + head + data


@pytest.mark.parametrize(
    ("bits", "fields", "header", "compression"),
    [
        (16, (0xF00, 0xF0, 0xF), 40, 3),
        (16, (0xF00, 0xF0, 0xF, 0xF000), 56, 3),
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000), 124, 3),
        (16, (0xC000, 0x3800, 0x0700), 40, 3),
        (32, (0x3FF00000, 0xFFC00, 0x3FF), 40, 3),
        (32, (0xFF, 0xFF00, 0xFF0000), 40, 3),
        (32, (0xFF00, 0xFF0000, 0xFF000000), 108, 3),
        (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 40, 6),
        (32, (0xFFE00000, 0x1FFC00, 0x3FF), 40, 3),
        (16, (0x7C00, 0x3E0, 0x1F), 40, 0),
        (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 124, 0),
    ],
)
@pytest.mark.parametrize("height", [300, -300])
def test_the_colours_of_a_bmp_may_stand_in_any_bits(
    bits: int, fields: tuple[int, ...], header: int, compression: int, height: int
) -> None:
    picture = quarters()
    rows = np.asarray(picture if height < 0 else picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM), "uint64")
    rows = np.dstack([rows, np.full((300, 400), 255, "uint64")])
    written = sum(
        ((rows[..., number] * (field // (field & -field)) + 127) // 255) * (field & -field)
        for number, field in enumerate(fields)
    )
    listed = fields if compression or header > 40 else ()
    data = np.asarray(written).astype(f"<u{bits // 8}").tobytes()
    made = make(raw_bmp(bits, data, (400, height), *listed, header=header, compression=compression))
    assert close(
        corners(made.shown("320.jpg")), [RED, GREEN, GREY, BLUE], by=255 // (1 << 2) if 0xC000 in fields else 12
    )


def test_a_bmp_of_fields_keeps_its_transparency() -> None:
    data = struct.pack("<2H", 0x0F00, 0xFF00) * 16 + struct.pack("<2H", 0x0F00, 0x8F00) * 16
    shown = make(raw_bmp(16, data, (2, 32), 0xF00, 0xF0, 0xF, 0xF000, header=56)).shown("32.webp")
    assert [shown.getchannel("A").getpixel(at) for at in ((0, 20), (1, 20), (1, 4))] == [0, 255, 136]


TABLE = b"".join(bytes((*colour[::-1], 0)) for colour in (RED, GREEN, BLUE, GREY))


def test_a_bmp_may_have_two_bits_a_pixel_and_any_number_of_colours() -> None:
    low, high = b"\xaa\xff", b"\x00\x55"  # blue and grey below, red and green above
    data = (low + b"\0\0") * 8 + (high + b"\0\0") * 8
    for palette, count in ((TABLE, 0), (TABLE, 4), (TABLE * 80, 320), (TABLE, 305_402_420)):
        made = make(raw_bmp(2, data, (8, 16), palette=palette, count=count))
        assert close(corners(made.shown("16.webp")), [RED, GREEN, GREY, BLUE], by=25), count


def test_the_palette_of_a_bmp_may_reach_into_its_pixels() -> None:
    content = bytearray(raw_bmp(8, bytes(32 * 32), (32, 32), palette=TABLE, count=4))
    struct.pack_into("<I", content, 10, 54 + 12)
    assert close(make(bytes(content)).shown("32.webp").convert("RGB").getpixel((16, 16)), RED)


def runs(data: bytes, size: tuple[int, int], bits: int = 8) -> bytes:
    return raw_bmp(bits, data, size, compression={8: 1, 4: 2}[bits], palette=TABLE.ljust(4 << bits, b"\0"))


def test_a_run_length_coded_bmp_is_black_where_nothing_is_painted() -> None:
    """As in Chromium: where it ends early, where it skips, and where a run is cut at the end of its row."""
    for bits, one, two in ((8, b"\x20\1", b"\x20\2"), (4, b"\x20\x11", b"\x20\x22")):
        early = make(runs((one + b"\0\0") * 10 + b"\0\1", (32, 20), bits)).shown("32.webp").convert("RGB")
        assert close([early.getpixel((9, 15)), early.getpixel((9, 4))], [GREEN, (0, 0, 0)])
        skipping = b"\0\2\x10\0" + b"\x40" + one[1:] + b"\0\0"
        skipped = make(runs(skipping * 20 + b"\0\1", (32, 20), bits)).shown("32.webp").convert("RGB")
        assert close([skipped.getpixel((4, 9)), skipped.getpixel((28, 9))], [(0, 0, 0), GREEN])
        up = (one + b"\0\0") * 4 + one + b"\0\2\0\x0a" + b"\0\0" + (two + b"\0\0") * 20
        jumped = make(runs(up, (32, 20), bits)).shown("32.webp").convert("RGB")
        assert close([jumped.getpixel((9, y)) for y in (18, 9, 2)], [GREEN, (0, 0, 0), BLUE], by=30)


def test_a_run_length_coded_bmp_may_hold_what_is_no_run() -> None:
    plain = b"\0\x0b" + bytes((0, 1, 2, 3) * 3)  # eleven pixels, and a byte that fills up
    made = make(runs((plain + b"\x05\2\0\0") * 16, (16, 16))).shown("16.webp").convert("RGB")
    assert close(made.getpixel((14, 8)), BLUE, by=25)
    halves = b"\0\x05" + b"\x12\x12\x10" + b"\0" + b"\x0b\x22\0\0"
    made = make(runs(halves * 16, (16, 16), bits=4)).shown("16.webp").convert("RGB")
    assert close(made.getpixel((12, 8)), BLUE, by=25)


@pytest.mark.parametrize(("bits", "compression"), [(0, 4), (0, 5), (24, 4), (8, 2), (64, 0)])
def test_a_sort_that_is_not_read_is_told_from_a_broken_file(bits: int, compression: int) -> None:
    refusal = refused(raw_bmp(bits, bytes(400), (8, 8), compression=compression))
    assert (refusal.code, str(refusal)) == (
        "unsupported",
        "the file is a BMP of a sort that is not read here: "
        f"unsupported compression {compression} of {bits} bits a pixel",
    )


def raw_tiff(data: bytes, size: tuple[int, int], photometric: int, bits: int, samples: int = 3, **tags: Any) -> bytes:
    """A TIFF of one strip whose pixels are given as they are to be written, the low byte first."""
    entries: dict[int, Any] = {256: size[0], 257: size[1], 258: (bits,) * samples, 259: 1, 262: photometric}
    entries |= {273: 8, 277: samples, 278: size[1], 279: len(data)} | {int(key[1:]): tag for key, tag in tags.items()}
    data += b"\0" * (len(data) % 2)
    directory, beyond = b"", b""
    after = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, value in sorted(entries.items()):
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", after + len(beyond)), beyond + packed
        directory += struct.pack("<HHI", tag, 4, len(values)) + packed
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(entries))
        + directory
        + bytes(4)
        + beyond
    )


def test_a_tiff_of_16_bits_may_have_a_plane_for_each_colour() -> None:
    planes = np.moveaxis(np.asarray(quarters(), "<u2") * 257, 2, 0)
    size = planes[0].nbytes
    where = tuple(8 + number * size for number in range(3))
    content = raw_tiff(planes.tobytes(), (400, 300), 2, 16, t284=2, t273=where, t279=(size,) * 3)
    assert close(corners(make(content).shown("320.jpg")), [RED, GREEN, GREY, BLUE])


@pytest.mark.parametrize(("kind", "bits", "sample_format"), [("<u2", 16, 1), ("<f4", 32, 3), ("<u1", 8, 1)])
def test_the_lowest_value_of_a_grey_tiff_may_be_white(kind: str, bits: int, sample_format: int) -> None:
    ramp = np.tile(np.linspace(0, 1, 256), (16, 1)) * (1 if bits == 32 else (1 << bits) - 1)
    content = raw_tiff(ramp.astype(kind).tobytes(), (256, 16), 0, bits, samples=1, t339=sample_format)
    row = np.asarray(make(content).shown("256.jpg").convert("L"), int)[8]
    assert row[0] > 250 and row[-1] < 5


def test_a_tiff_may_be_in_floating_point_colours() -> None:
    pixels = (np.asarray(quarters()) / 255).astype("<f4")
    pixels[:10] = (7.5, -3, 1)  # brighter than white, and darker than black
    content = raw_tiff(pixels.tobytes(), (400, 300), 2, 32, t339=(3, 3, 3))
    assert close(make(content).shown("320.webp").convert("RGB").getpixel((160, 2)), (255, 0, 255), by=25)
    assert close(corners(make(content).shown("320.jpg")), [RED, GREEN, GREY, BLUE])
    lying = raw_tiff(np.moveaxis(pixels, 0, 1).tobytes(), (300, 400), 2, 32, t339=(3, 3, 3), t274=5)
    assert close(corners(make(lying).shown("320.jpg")), [RED, GREEN, GREY, BLUE])
    assert refused(content, megapixels=0.1).code == "too_many_pixels"


def test_a_tiff_may_be_in_lab_of_16_bits() -> None:
    pixels = np.zeros((64, 64, 3), "<i2")
    pixels[..., 0] = np.uint16(65535 * 0.5323).astype("<i2")  # sRGB's red: L* 53.2, a* 80.1, b* 67.2
    pixels[..., 1:] = (80.1 * 256, 67.2 * 256)
    red = make(raw_tiff(pixels.tobytes(), (64, 64), 8, 16)).shown("64.jpg").getpixel((32, 32))
    assert close(red, (255, 0, 0), by=12)


@pytest.mark.parametrize("tiled", [False, True])
def test_a_tiff_may_hold_webps(tiled: bool) -> None:
    width = 128 if tiled else 400
    boxes = [(x, y, x + width, y + 128) for y in range(0, 300, 128) for x in range(0, 400, width)]
    parts = [encoded(quarters().crop(box), "WEBP", lossless=True) for box in boxes]
    where = tuple(8 + sum(map(len, parts[:number])) for number in range(len(parts)))
    sizes = tuple(map(len, parts))
    tags = (
        {"t322": 128, "t323": 128, "t324": where, "t325": sizes}
        if tiled
        else {"t273": where, "t279": sizes, "t278": 128}
    )
    content = raw_tiff(b"".join(parts), (400, 300), 2, 8, t259=50001, **tags)
    assert close(corners(make(content).shown("320.jpg")), [RED, GREEN, GREY, BLUE])


def test_a_tiff_that_nothing_reads_is_no_broken_file() -> None:
    refusal = refused(raw_tiff(bytes(64 * 6), (8, 8), 2, 48))
    assert (refusal.code, str(refusal)) == (
        "unsupported",
        "the file is a TIFF of a sort that is not read here: unknown pixel mode",
    )


def test_floating_point_and_long_greys_span_from_black_to_white() -> None:
    ramp = np.tile(np.linspace(-3, 5, 256), (16, 1))
    for values in (ramp.astype("float32"), (ramp * 1e6).astype("int32")):
        made = make(Image.fromarray(values), "TIFF")
        row = np.asarray(made.shown("256.jpg").convert("L"), int)[8]
        assert row[0] < 8 and row[-1] > 247 and abs(row[128] - 128) < 8


@pytest.mark.parametrize("tag", [{0xC612: b"\1\4\0\0"}, {0xFE: 1}])
def test_a_cameras_raw_picture_is_refused_by_name(tag: dict[int, Any]) -> None:
    refusal = refused(encoded(quarters(), "TIFF", tiffinfo=tag))
    assert refusal.code == "foreign"
    assert "a camera's raw picture" in str(refusal)


def test_a_grey_of_16_bits_spans_its_range_whichever_byte_comes_first() -> None:
    for order in "<>":
        values = np.tile(np.linspace(0, 65535, 256), (16, 1)).astype(f"{order}u2")
        content = encoded(Image.frombytes("I;16" if order == "<" else "I;16B", (256, 16), values.tobytes()), "TIFF")
        assert content[:2] == (b"II" if order == "<" else b"MM")
        row = np.asarray(make(content).shown("256.jpg").convert("L"), int)[8]
        assert np.abs(row - np.arange(256)).max() < 6


def test_a_float_picture_of_no_numbers_is_broken() -> None:
    assert refused(encoded(Image.fromarray(np.full((4, 4), np.nan, "float32")), "TIFF")).code == "broken"


def frames(count: int = 3, size: tuple[int, int] = (400, 300)) -> list[Image.Image]:
    return [Image.new("RGB", size, (80 * number, 255 - 80 * number, 60)) for number in range(count)]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_kept_beside_its_still(form: str) -> None:
    first, *others = frames()
    made = make(first, form, save_all=True, append_images=others, duration=[100, 200, 300], loop=0)
    assert [r.role for r in made.media.renditions].count("animation") == 1
    animation = made.shown("animation.webp")
    assert (animation.n_frames, animation.info["loop"], animation.size) == (3, 0, (400, 300))  # type: ignore[attr-defined]
    durations = []
    for number, frame in enumerate([first, *others]):
        animation.seek(number)
        animation.load()
        durations.append(animation.info["duration"])
        assert close(animation.convert("RGB").getpixel((9, 9)), frame.getpixel((9, 9)), by=20)
    assert durations == [100, 200, 300]
    assert made.shown("320.webp").n_frames == 1  # type: ignore[attr-defined]


def test_an_animation_is_made_no_larger_than_800_and_turned_upright() -> None:
    first, *others = frames(2, (1000, 500))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = make(first, "WEBP", save_all=True, append_images=others, duration=50, exif=exif)
    assert made.shown("animation.webp").size == (400, 800)


def gif(*parts: tuple[tuple[int, int, int, int], int, int | None]) -> bytes:
    """A GIF of 40 x 30 px whose frames are plain boxes: where, of which of three colours, disposed of how."""
    table = bytes((*RED, *GREEN, *BLUE, 0, 0, 0))
    content = b"GIF89a" + struct.pack("<HHBBB", 40, 30, 0x81, 0, 0) + table
    for (left, top, right, end), colour, disposal in parts:
        plain = encoded(Image.new("P", (right - left, end - top), colour), "GIF", optimize=False)
        data = plain[plain.rindex(b"\x2c") + 10 : -1] if not plain[plain.rindex(b"\x2c") + 9] & 0x80 else b""
        assert data
        content += b"\x21\xf9\4" + struct.pack("<BHBB", (disposal or 0) << 2, 10, 0, 0)
        content += b"\x2c" + struct.pack("<HHHHB", left, top, right - left, end - top, 0) + data
    return content + b";"


def second_frame(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """An animation's second frame, as it is handed to the encoder: WebP leaves out where nothing is to be painted."""
    frames: list[Image.Image] = []
    save = Image.Image.save

    def watched(image: Image.Image, *args: Any, append_images: Any = (), **options: Any) -> None:
        frames.extend(append_images)
        save(image, *args, append_images=append_images, **options)

    monkeypatch.setattr(Image.Image, "save", watched)
    assert "animation.webp" in make(content).files
    return frames[0].convert("RGBA")


def test_a_gif_is_transparent_where_no_frame_has_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    content = gif(((10, 10, 30, 30), 1, None), ((0, 0, 10, 10), 2, None))
    made = make(content)
    still = made.shown("40.webp").convert("RGBA")
    assert close(still.getpixel((20, 20)), (*GREEN, 255)) and still.getpixel((2, 2))[3] == 0  # type: ignore[index]
    assert close(made.shown("40.jpg").getpixel((2, 2)), (255, 255, 255))
    second = second_frame(content, monkeypatch)
    assert close([second.getpixel(at) for at in ((20, 20), (4, 4))], [(*GREEN, 255), (*BLUE, 255)])
    assert second.getpixel((38, 4))[3] == 0  # type: ignore[index]


def test_a_frame_of_a_gif_that_is_cleared_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    second = second_frame(gif(((0, 0, 40, 30), 1, 2), ((0, 0, 10, 10), 2, None)), monkeypatch)
    assert close(second.getpixel((4, 4)), (*BLUE, 255))
    assert second.getpixel((30, 20))[3] == 0  # type: ignore[index]


def test_the_still_of_an_animation_is_what_browsers_show_of_it() -> None:
    """Not the picture of an APNG that is shown where animations are not known."""
    first, second, third = frames(3)
    made = make(first, save_all=True, default_image=True, append_images=[second, third], duration=50)
    assert close(made.shown("320.jpg").getpixel((9, 9)), second.getpixel((9, 9)))
    assert made.shown("animation.webp").n_frames == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("form", "part"), [("GIF", b"\x21\xf9"), ("PNG", b"fcTL")])
@pytest.mark.parametrize("whole", [1, 2])
def test_an_animation_that_breaks_off_is_kept_as_far_as_it_goes(form: str, part: bytes, whole: int) -> None:
    first, *others = (Image.blend(noise((60, 80)), frame, 0.5) for frame in frames(4, (80, 60)))
    content = encoded(first, form, save_all=True, append_images=others, duration=50)
    end = [found.start() for found in re.finditer(re.escape(part), content)][whole] + 60
    made = make(content[:end])
    assert made.shown("80.webp").size == (80, 60)
    if whole == 1:
        assert "animation.webp" not in made.files
    else:
        assert made.shown("animation.webp").n_frames == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("claimed", "shown"), [(0, 100), (10, 100), (20, 20)])
def test_a_gif_too_fast_for_browsers_keeps_their_pace(claimed: int, shown: int) -> None:
    first, *others = frames(2)
    made = make(first, "GIF", save_all=True, append_images=others, duration=claimed, loop=2)
    animation = made.shown("animation.webp")
    animation.load()
    assert (animation.info["duration"], animation.info["loop"]) == (shown, 3)


def test_a_transparent_animation_keeps_its_transparency() -> None:
    first, *others = [Image.new("RGBA", (64, 64), (200, 0, 0, alpha)) for alpha in (0, 255)]
    made = make(first, "PNG", save_all=True, append_images=others, duration=100)
    animation = made.shown("animation.webp")
    assert animation.convert("RGBA").getpixel((9, 9))[3] == 0  # type: ignore[index]
    animation.seek(1)
    assert animation.convert("RGBA").getpixel((9, 9))[3] == 255  # type: ignore[index]


@pytest.mark.parametrize(
    ("limits", "code", "explanation"),
    [
        ({"frames": 2}, "too_many_frames", "the animation has 3 frames, more than 2"),
        (
            {"animation_megapixels": 0.3},
            "too_many_pixels",
            "the animation has 3 frames of 400 x 300 pixels, together more than 0.3 million",
        ),
        ({"side": 399}, "too_many_pixels", "the picture has 400 x 300 pixels, more than 399 on a side"),
    ],
)
@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_refused_for_what_its_header_says(
    form: str, limits: dict[str, Any], code: str, explanation: str
) -> None:
    first, *others = frames()
    refusal = refused(encoded(first, form, save_all=True, append_images=others, duration=100), **limits)
    assert (refusal.code, str(refusal)) == (code, explanation)


def test_a_frame_larger_than_its_header_says_is_refused() -> None:
    first, *others = frames(2, (20, 20))
    content = bytearray(encoded(first, "GIF", save_all=True, append_images=others, duration=100))
    at = content.rindex(b"\x2c\0\0\0\0\x14\0\x14\0")  # the second frame's place and size
    content[at + 5 : at + 9] = b"\xe8\x03\xe8\x03"
    assert refused(bytes(content), megapixels=0.9).code == "too_many_pixels"


@pytest.mark.parametrize("form", FORMS)
def test_no_damage_has_any_end_but_a_picture_or_a_refusal(form: str) -> None:
    rng = np.random.default_rng(FORMS.index(form))
    exif = Image.Exif()
    exif[0x0112] = 6
    save: dict[str, Any] = {} if form in ("BMP", "GIF") else {"exif": exif}
    good = encoded(noise((40, 30)), form, **save)
    for _ in range(40):
        content = bytearray(good)
        for at in rng.integers(0, min(len(content), 600), rng.integers(1, 8)):
            content[at] = rng.integers(0, 256)
        del content[rng.integers(len(content) // 2, len(content) * 2) :]
        try:
            made = make(bytes(content), limits=Limits(megapixels=1))
        except Unusable:
            continue
        assert len(made.files) >= 4
