"""Videos: what comes out plays at once, upright and in step, whatever went in; what cannot is refused with a reason."""

import io
import math
import struct
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pictures import BLUE, GREEN, GREY, RED, by_definition, close, corners, quarters
from PIL import Image

import video
from kinds import VIDEOS, kind_of
from terms import Limits, Media, Unusable

RATE = 10


def encoded(
    form: str = "mp4",
    codec: str = "libx264",
    sound: str | None = "aac",
    size: tuple[int, int] = (160, 120),
    seconds: float = 1,
    dark: float = 0,
    pixels: str = "yuv420p",
    picture: Image.Image | None = None,
    live: bool = False,
    matrix: str | None = None,
    **told: Any,
) -> bytes:
    """A video of the quarters, after `dark` seconds of black, and of a tone; a live one does not know its length."""
    buffer = io.BytesIO()
    with av.open(Live(buffer) if live else buffer, "w", format=form) as target:
        target.metadata["title"] = "secret"
        stream = target.add_stream(codec, rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if codec == "libx265":  # of so few pictures, it gives reordered ones times that cannot be
            stream.options = {"x265-params": "bframes=0"}
        for name, value in told.items():
            setattr(stream.codec_context, name, value)
        tone = target.add_stream(sound, rate=48_000) if sound else None
        if tone:
            tone.layout = "mono"
            tone.bit_rate = 64_000
        for number in range(round(seconds * RATE)):
            shown = (picture or quarters(*size)) if number >= dark * RATE else Image.new("RGB", size)
            frame = av.VideoFrame.from_image(shown).reformat(format=pixels, dst_colorspace=matrix)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
        if tone:
            step = tone.codec_context.frame_size or 960
            resampler = av.AudioResampler(format=tone.codec_context.format, layout="mono", rate=48_000)
            for at in range(0, round(seconds * 48_000), step):
                samples = np.sin(np.arange(at, at + step) * (2 * math.pi * 440 / 48_000), dtype="float32")[None] / 3
                heard = av.AudioFrame.from_ndarray(samples.astype("float32"), format="fltp", layout="mono")
                heard.sample_rate, heard.pts, heard.time_base = 48_000, at, Fraction(1, 48_000)
                for piece in resampler.resample(heard):
                    target.mux(tone.encode(piece))
            target.mux(tone.encode())
    return buffer.getvalue()


class Live:
    """A file that can only be written from its start to its end."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self.write = buffer.write


@dataclass
class Made:
    media: Media
    files: dict[str, bytes]

    def pictures(self) -> list[Image.Image]:
        return [rgb(frame) for frame in made_frames(self.files["video.mp4"], "video")]


def rgb(frame: av.VideoFrame, kr: float = 0.2126, kb: float = 0.0722) -> Image.Image:
    """A picture of 4:2:0 in RGB, as BT.709 defines it (or BT.601: 0.299 and 0.114)."""
    width, height = frame.width, frame.height
    planes = frame.to_ndarray().astype(float).reshape(-1)
    y = (planes[: width * height].reshape(height, width) - 16) / 219
    rest = planes[width * height :].reshape(2, height // 2, width // 2)
    cb, cr = ((plane.repeat(2, 0).repeat(2, 1) - 128) / 112 for plane in rest)
    red, blue = y + (1 - kr) * cr, y + (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return Image.fromarray((np.dstack([red, green, blue]) * 255).round().clip(0, 255).astype("uint8"))


def made_frames(content: bytes, kind: str) -> list[Any]:
    with av.open(io.BytesIO(content)) as made:
        return list(made.decode(**{kind: 0}))


def make(content: bytes, **limits: Any) -> Made:
    with tempfile.TemporaryDirectory() as folder:
        upload = Path(folder, "upload")
        upload.write_bytes(content)
        media = video.make_video(upload, kind_of(content) or "", Path(folder), Limits(**limits))
        files = {rendition.name: Path(folder, rendition.name).read_bytes() for rendition in media.renditions}
    return Made(media, files)


def refused(content: bytes, **limits: Any) -> Unusable:
    with pytest.raises(Unusable) as refusal:
        make(content, **limits)
    return refusal.value


@pytest.mark.parametrize(
    ("kind", "form", "codec", "sound"),
    [
        ("MP4 video", "mp4", "libx264", "aac"),
        ("QuickTime video", "mov", "mpeg4", "pcm_s16le"),
        ("WebM or Matroska video", "webm", "libvpx", "libopus"),
        ("AVI video", "avi", "mpeg4", "mp2"),
        ("Windows Media video", "asf", "wmv2", "mp2"),
    ],
)
def test_every_kind_comes_out_as_a_video_that_starts_at_once(kind: str, form: str, codec: str, sound: str) -> None:
    made = make(encoded(form, codec, sound))
    assert (made.media.format, made.media.width, made.media.height) == (kind, 160, 120)
    assert made.media.seconds == pytest.approx(1, abs=0.15)
    roles = [rendition.role for rendition in made.media.renditions]
    assert roles == ["picture", "picture", "square", "square", "video"]
    assert close(corners(Image.open(io.BytesIO(made.files["160.jpg"]))), [RED, GREEN, GREY, BLUE], by=25)
    content = made.files["video.mp4"]
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"secret" not in content
    with av.open(io.BytesIO(content)) as result:
        picture, heard = result.streams.video[0], result.streams.audio[0]
        assert (picture.codec_context.name, picture.codec_context.format.name) == ("h264", "yuv420p")
        assert (heard.codec_context.name, heard.codec_context.layout.name) == ("aac", "stereo")
        assert float(heard.duration * heard.time_base) == pytest.approx(1, abs=0.15)
    frames = made.pictures()
    assert len(frames) == RATE
    assert close(corners(frames[-1]), [RED, GREEN, GREY, BLUE], by=25)
    tone = np.concatenate([frame.to_ndarray()[0] for frame in made_frames(content, "audio")])[4800:-4800]
    assert np.argmax(np.abs(np.fft.rfft(tone))) * 48_000 / len(tone) == pytest.approx(440, abs=5)


def test_a_video_without_sound_and_one_of_a_single_picture_work() -> None:
    made = make(encoded(sound=None, seconds=0.1))
    assert len(made.pictures()) == 1
    assert made.media.seconds == pytest.approx(0.1)


def test_the_pictures_of_a_recorded_screen_come_as_they_do() -> None:
    """Bursts of 20 a second with seconds between them, 4 a second on average: none is left out."""
    times = [burst * 60 + number for burst in range(3) for number in range(8)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=20)
        stream.width = stream.height = 64
        for number, at in enumerate(times):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), (number * 10, 90, 90)))
            frame.pts, frame.time_base = at, Fraction(1, 20)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    with av.open(io.BytesIO(make(buffer.getvalue()).files["video.mp4"])) as made:
        shown = [round(float(frame.time or 0) * 20) for frame in made.decode(video=0)]
    assert shown == times


@pytest.mark.parametrize("size", [(2, 2), (4, 4), (16, 2), (6, 64)])
def test_a_tiny_video_works(size: tuple[int, int]) -> None:
    made = make(encoded("webm", "libvpx", None, size=size, seconds=0.2))
    assert (made.media.width, made.media.height) == size
    assert made.pictures()[0].size == size


def test_a_packet_that_no_decoder_takes_costs_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encrypted:
        def decode(self) -> Any:
            raise av.error.PermissionError(1, "Operation not permitted")

    def with_encrypted(*args: Any) -> Any:
        yield Encrypted()
        yield from packets(*args)

    packets = video._packets
    monkeypatch.setattr(video, "_packets", with_encrypted)
    assert make(encoded(sound=None)).media.seconds == pytest.approx(1)


def test_the_reason_names_no_path_of_ours() -> None:
    refusal = refused(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100))
    assert (refusal.code, str(refusal)) == (
        "broken",
        "the file is a broken MP4 video: Invalid data found when processing input",
    )


def test_the_poster_is_not_black() -> None:
    made = make(encoded(seconds=2, dark=1.2))
    assert close(corners(Image.open(io.BytesIO(made.files["160.jpg"]))), [RED, GREEN, GREY, BLUE], by=25)
    assert make(encoded(sound=None, seconds=0.5, dark=9)).media.blurhash  # all of it black: then so is the poster


@pytest.mark.parametrize(
    ("matrix", "undo"),
    [
        ((0, 1, -1, 0), Image.Transpose.ROTATE_90),
        ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        ((0, -1, 1, 0), Image.Transpose.ROTATE_270),
        ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
        ((1, 0, 0, -1), Image.Transpose.FLIP_TOP_BOTTOM),
        ((0, 1, 1, 0), Image.Transpose.TRANSPOSE),
        ((0, -1, -1, 0), Image.Transpose.TRANSVERSE),
    ],
)
def test_a_video_is_turned_and_mirrored_as_its_container_says(
    matrix: tuple[int, int, int, int], undo: Image.Transpose
) -> None:
    stored = quarters().transpose(undo)
    content = bytearray(encoded(sound=None, size=stored.size, picture=stored, seconds=0.3))
    one = 1 << 16
    at = content.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2
    assert struct.unpack_from(">9i", content, at) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    a, b, c, d = (value * one for value in matrix)
    struct.pack_into(">9i", content, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    made = make(bytes(content))
    assert (made.media.width, made.media.height) == (400, 300)
    for shown in (made.pictures()[-1], Image.open(io.BytesIO(made.files["400.jpg"]))):
        assert shown.size == (400, 300)
        assert close(corners(shown), [RED, GREEN, GREY, BLUE], by=25)


@pytest.mark.parametrize(
    ("size", "made_size"),
    [((1920, 1080), (1280, 720)), ((1080, 1920), (720, 1280)), ((1000, 800), (900, 720)), ((162, 122), (162, 122))],
)
def test_a_video_is_made_no_larger_than_720p(size: tuple[int, int], made_size: tuple[int, int]) -> None:
    made = make(encoded(sound=None, size=size, seconds=0.1))
    assert (made.media.width, made.media.height) == size
    assert made.pictures()[0].size == made_size


@pytest.mark.parametrize(("size", "matrix"), [((160, 120), "ITU601"), ((1280, 720), "ITU709")])
def test_colours_without_a_name_are_those_of_their_size(size: tuple[int, int], matrix: str) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=RATE)
        stream.width, stream.height = size
        frame = av.VideoFrame.from_image(quarters(*size)).reformat(format="yuv420p", dst_colorspace=matrix)
        target.mux([*stream.encode(frame), *stream.encode()])
    assert made_frames(buffer.getvalue(), "video")[0].colorspace == 2
    made = make(buffer.getvalue())
    for shown in (made.pictures()[0], Image.open(io.BytesIO(made.files[f"{size[0]}.jpg"]))):
        assert close(corners(shown), [RED, GREEN, GREY, BLUE])


@pytest.mark.parametrize(
    ("pasp", "width"), [((4, 3), 213), ((1, 1), 160), ((0, 0), 320), (None, 320), ((1000, 1), 160)]
)
def test_the_containers_pixel_aspect_goes_before_the_codecs(pasp: tuple[int, int] | None, width: int) -> None:
    """As in Chromium, but for one that cannot be meant. Here the codec says 2:1."""
    content = bytearray(encoded(sound=None, seconds=0.3, sample_aspect_ratio=Fraction(2)))
    at = content.index(b"pasp")
    assert struct.unpack_from(">2I", content, at + 4) == (2, 1)
    if pasp:
        struct.pack_into(">2I", content, at + 4, *pasp)
    else:
        content[at : at + 4] = b"free"
    made = make(bytes(content))
    assert (made.media.width, made.media.height) == (width, 120)
    assert made.pictures()[0].size == (round(width / 2) * 2, 120)
    assert close(corners(made.pictures()[0]), [RED, GREEN, GREY, BLUE], by=25)


def units(content: bytes) -> set[int]:
    """The sorts of units that an MP4's video is made of (ITU-T H.264, table 7-1)."""
    found = set()
    with av.open(io.BytesIO(content)) as source:
        for packet in source.demux(video=0):
            data, at = bytes(packet), 0
            while at < len(data):
                found.add(data[at + 4] & 31)
                at += 4 + int.from_bytes(data[at : at + 4])
    return found


def test_nothing_but_the_picture_is_in_the_pictures() -> None:
    """Neither the encoder's settings nor what the upload had beside its pictures, captions for one."""
    upload = encoded(seconds=0.5)
    assert b"x264 - core" in upload and 6 in units(upload)
    content = make(upload).files["video.mp4"]
    assert units(content) == {1, 5}
    for trace in (b"x264", b"Lavc", b"Lavf", b"secret"):
        assert trace not in content


def named_colours(content: bytes) -> tuple[int, int, int]:
    with av.open(io.BytesIO(content)) as source:
        told = source.streams.video[0].codec_context
        return told.color_primaries, told.color_trc, told.colorspace


def hdr(transfer: int, primaries: int, *greys: int) -> bytes:
    """A clip whose halves are greys, given as full-range signals of 8 bits."""
    picture = Image.new("RGB", (160, 120), (greys[0],) * 3)
    picture.paste((greys[1],) * 3, (80, 0, 160, 120))
    names = {"color_trc": transfer, "color_primaries": primaries, "colorspace": 9}
    return encoded(codec="libx265", sound=None, seconds=0.2, pixels="yuv420p10le", picture=picture, **names)


@pytest.mark.parametrize(("transfer", "white"), [(16, 148), (18, 191)])
def test_hdr_is_brought_to_standard_range(transfer: int, white: int) -> None:
    """As an HDR still is: paper, of 203 candelas (ITU-R BT.2408, table 1), keeps most of its light."""
    content = hdr(transfer, 9, white // 2, white)
    made = make(content)
    assert [named_colours(each) for each in (content, made.files["video.mp4"])] == [(9, transfer, 9), (1, 1, 1)]
    grey, paper = (made.pictures()[0].getpixel((x, 60)) for x in (20, 140))
    assert 170 < paper[0] < 210 and 20 < grey[0] < paper[0] - 60  # type: ignore[index,operator]
    brightest = make(hdr(transfer, 9, 0, 255)).pictures()[0]
    assert close([brightest.getpixel((x, 60)) for x in (20, 140)], [(0,) * 3, (255,) * 3], by=6)


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 14), (12, 1)])
def test_wide_colours_are_brought_to_a_screens(primaries: int, transfer: int) -> None:
    xy = {9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), 12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))}
    names = {"color_trc": transfer, "color_primaries": primaries, "colorspace": 1}
    colour = (200, 100, 50)
    content = encoded(sound=None, seconds=0.2, picture=Image.new("RGB", (160, 120), colour), matrix="ITU709", **names)
    for shown in ((made := make(content)).pictures()[0], Image.open(io.BytesIO(made.files["160.jpg"]))):
        assert close(shown.getpixel((80, 60)), by_definition(xy[primaries], colour), by=8)


def test_a_heif_sequence_becomes_a_video() -> None:
    content = encoded(codec="libx265", sound=None, seconds=0.3)
    sequence = content[:8] + b"msf1" + content[12:16] + b"msf1hevc" + content[24:]
    sequence = sequence.replace(b"vide", b"pict", 1)
    assert kind_of(sequence) == "HEIF sequence"
    made = make(sequence)
    assert made.media.format == "HEIF sequence"
    assert len(made.pictures()) == 3
    assert close(corners(made.pictures()[0]), [RED, GREEN, GREY, BLUE], by=25)


@pytest.mark.parametrize(
    ("limits", "code", "explanation"),
    [
        ({"video_seconds": 0.3}, "too_long", "the video lasts 1 seconds, more than 0.3"),
        ({"video_side": 159}, "too_many_pixels", "the video has 160 x 120 pixels, more than 159 on a side"),
        ({"video_megabytes": 0.001}, "too_large", "more than 0.001"),
    ],
)
def test_a_video_is_refused_for_what_its_header_says(limits: dict[str, Any], code: str, explanation: str) -> None:
    refusal = refused(encoded(sound=None), **limits)
    assert refusal.code == code
    assert explanation in str(refusal)


def test_a_video_that_hides_its_length_is_refused_where_the_limit_is_reached() -> None:
    content = encoded("webm", "libvpx", None, seconds=2, live=True)
    with av.open(io.BytesIO(content)) as endless:
        assert endless.duration is None
    assert refused(content, video_seconds=1).code == "too_long"
    assert make(content).media.seconds == pytest.approx(2, abs=0.15)


def test_sound_alone_is_no_video() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        tone = target.add_stream("aac", rate=48_000)
        tone.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "float32"), format="fltp", layout="mono")
        silence.sample_rate = 48_000
        target.mux(tone.encode(silence))
        target.mux(tone.encode())
    refusal = refused(buffer.getvalue())
    assert (refusal.code, str(refusal)) == ("no_video", "the MP4 video holds no moving picture that can be decoded")


def test_a_playlist_in_the_clothes_of_a_video_leads_nowhere(tmp_path: Path) -> None:
    """Each kind has its own demuxer; a list of other files is none of them."""
    other = tmp_path / "other.mp4"
    other.write_bytes(encoded(sound=None))
    upload = tmp_path / "upload"
    for playlist in (f"ffconcat version 1.0\nfile {other}\n", f"#EXTM3U\n#EXTINF:1,\n{other}\n"):
        upload.write_text(playlist)
        for kind in VIDEOS:
            with pytest.raises(Unusable) as refusal:
                video.make_video(upload, kind, tmp_path, Limits())
            assert refusal.value.code in ("broken", "no_video")


@pytest.mark.parametrize(
    ("form", "codec", "sound"),
    [("mp4", "libx264", "aac"), ("webm", "libvpx", "libopus"), ("avi", "mpeg4", "mp2"), ("asf", "wmv2", "mp2")],
)
def test_no_damage_has_any_end_but_a_video_or_a_refusal(form: str, codec: str, sound: str) -> None:
    rng = np.random.default_rng(len(form + codec))
    good = encoded(form, codec, sound, size=(32, 32), seconds=0.4)
    for _ in range(12):
        content = bytearray(good)
        for at in rng.integers(16, len(content), rng.integers(1, 12)):
            content[at] = rng.integers(0, 256)
        del content[rng.integers(len(content) // 2, len(content) * 2) :]
        try:
            made = make(bytes(content), video_seconds=5)
        except Unusable:
            continue
        assert "video.mp4" in made.files
