"""From an uploaded video to one that starts at once in every browser, and a poster; called in the sandbox.

FFmpeg's libraries do the work (PyAV). The file is read twice: its first picture says which way is up, before anything
is written; then pictures and sound go through filters to the encoders, each with its own time.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageStat

import colours
from kinds import VIDEOS
from renditions import refusal, write_views
from terms import Limits, Media, Rendition, Unusable

LONGEST, SHORTEST = 1280, 720
"""The largest picture of the video that is served: 720p, or as much upright."""
MOST_FRAMES_A_SECOND = 60
TICKS = Fraction(1, 90_000)
"""The clock of the video that is served."""
SAMPLES_A_SECOND = 48_000
THREADS = 2

HDR = (16, 18)
"""The transfer characteristics of PQ and HLG (ITU-T H.273, table 3)."""
WIDE = (9, 11, 12)
"""The primaries of BT.2020 and P3 (table 2)."""
UNSPECIFIED, BT709 = 2, 1
"""Colours without a name, and a screen's (in each of the tables)."""
STANDARD = ":out_color_matrix=bt709:out_range=tv"
"""What the pictures of the video that is served are made of."""


def make_video(upload: Path, kind: str, folder: Path, limits: Limits) -> Media:
    """Make a video's renditions: `video.mp4` (H.264 and AAC, at most 720p) and the poster's.

    Args:
        upload: The upload.
        kind: Its kind, one of `kinds.VIDEOS`.
        folder: Where the renditions are written.
        limits: What it may ask for.

    Raises:
        Unusable: The file is too large or long, broken, or holds no picture that can be decoded.
    """
    limits.check_size(upload.stat().st_size, video=True)
    # Each kind has its own demuxer: none that follows a playlist, and nothing but plain files for any.
    options = {"protocol_whitelist": "file", "format_whitelist": VIDEOS[kind]}
    try:
        with av.open(str(upload), format=VIDEOS[kind], options=options) as source:
            first = _first_picture(source, kind, limits)
        with av.open(str(upload), format=VIDEOS[kind], options=options) as source:
            return _make(source, first, kind, folder, limits)
    except MemoryError as error:
        raise Unusable("too_much_memory", f"the {kind} takes more memory than there is to decode") from error
    except (av.error.FFmpegError, ValueError, ArithmeticError) as error:  # ValueError: text that is no UTF-8, for one
        raise refusal(kind, str(error.strerror if isinstance(error, av.error.FFmpegError) else error)) from error


def _first_picture(source: InputContainer, kind: str, limits: Limits) -> VideoFrame:
    """Check what a video says of itself; return its first picture, which says which way is up."""
    video = _video_of(source)
    if video is None:
        raise Unusable("no_video", f"the {kind} holds no moving picture that can be decoded")
    _check_side(video.codec_context.width, video.codec_context.height, limits)
    _check_length(source.duration / av.time_base if source.duration else 0, limits)
    for packet in _packets(source, [video]):
        for frame in _frames(packet):
            assert isinstance(frame, VideoFrame)
            return frame
    raise Unusable("no_video", f"the {kind} holds no moving picture that can be decoded")


def _make(source: InputContainer, first: VideoFrame, kind: str, folder: Path, limits: Limits) -> Media:
    video = _video_of(source)
    assert video is not None  # the first picture is its
    video.thread_type = "AUTO"
    video.codec_context.thread_count = THREADS
    audio = next((stream for stream in source.streams.audio if _sounds(stream)), None)
    # Sound and picture both count from where the file starts, so that they stay together.
    start = Fraction(source.start_time or 0, av.time_base)

    path = folder / "video.mp4"
    poster = _Poster(max(source.duration / av.time_base if source.duration else 0, 1.0) / 10)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as target:
        pictures = _Pictures(target, video, first, start, limits, poster, folder)
        sound = _Sound(target, audio, start) if audio else None
        for packet in _packets(source, [stream for stream in (video, audio) if stream]):
            for frame in _frames(packet):
                if isinstance(frame, VideoFrame):
                    pictures.take(frame)
                elif sound:
                    sound.take(frame)
        pictures.end()
        if sound:
            sound.end()
    if poster.best is None:
        raise ValueError("no picture in it can be decoded")
    placeholder, renditions = write_views(poster.best, folder)
    renditions.append(Rendition(path.name, "video", "video/mp4", *pictures.size, path.stat().st_size))
    return Media(kind, *pictures.shown, placeholder, tuple(renditions), round(float(pictures.until), 3))


def _video_of(source: InputContainer) -> VideoStream | None:
    """The first stream that is a video which can be decoded, not a cover."""
    for stream in source.streams.video:
        if (
            stream.codec_context is not None
            and not stream.disposition & av.stream.Disposition.attached_pic
            and stream.codec_context.width > 0
        ):
            return stream
    return None


def _sounds(stream: AudioStream) -> bool:
    """Whether a stream is sound that can be decoded."""
    return stream.codec_context is not None and stream.codec_context.sample_rate > 0


def _check_side(width: int, height: int, limits: Limits) -> None:
    if max(width, height) > limits.video_side:
        size = f"{width} x {height} pixels"
        raise Unusable("too_many_pixels", f"the video has {size}, more than {limits.video_side} on a side")


def _check_length(seconds: float, limits: Limits) -> None:
    if seconds > limits.video_seconds + 0.5:  # a last frame may stand a little longer
        raise Unusable("too_long", f"the video lasts {seconds:.0f} seconds, more than {limits.video_seconds:g}")


def _packets(source: InputContainer, streams: list[Any]) -> Iterator[Any]:
    """The packets of some streams, up to the end, or to where the file breaks off."""
    with suppress(av.error.FFmpegError):
        yield from source.demux(streams)


def _frames(packet: Any) -> list[VideoFrame | AudioFrame]:
    """What a packet holds. A damaged or encrypted one costs what it holds, not the video."""
    try:
        frames: list[VideoFrame | AudioFrame] = packet.decode()
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return []
    return frames


class _Pictures:
    """The video's pictures on their way: upright, in standard range, made smaller, encoded."""

    def __init__(
        self,
        target: OutputContainer,
        video: VideoStream,
        first: VideoFrame,
        start: Fraction,
        limits: Limits,
        poster: "_Poster",
        folder: Path,
    ) -> None:
        self._target, self._video, self._start, self._limits, self._poster = target, video, start, limits, poster
        self._folder = folder
        self._graph: Graph | None = None
        self._cleaner: BitStreamFilterContext | None = None
        self._shape: tuple[Any, ...] = ()
        self._earliest = self._end = 0
        rate = video.average_rate or video.guessed_rate or Fraction(30)
        rate = rate if 1 <= rate <= MOST_FRAMES_A_SECOND else Fraction(30)
        self._ticks_a_frame = round(1 / rate / TICKS)
        # The rate is an average, and says nothing of how near two pictures of a recorded screen may be.
        self._least_apart = min(self._ticks_a_frame, round(1 / Fraction(30) / TICKS)) // 2

        ratio = video.sample_aspect_ratio or Fraction(1)  # the container's, or else the codec's
        width = round(first.width * ratio) if Fraction(1, 4) <= ratio <= 4 else first.width
        self.shown = (first.height, width) if TRANSPOSE in _turns(first) else (width, first.height)
        scale = min(1.0, LONGEST / max(self.shown), SHORTEST / min(self.shown))
        # 4:2:0 needs even sides.
        self.size = max(2, round(self.shown[0] * scale / 2) * 2), max(2, round(self.shown[1] * scale / 2) * 2)

        stream = self._stream = target.add_stream("libx264", rate=rate)
        stream.width, stream.height = self.size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = TICKS
        stream.codec_context.thread_count = THREADS
        stream.codec_context.gop_size = round(2 * rate)
        stream.codec_context.color_range = 1
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, BT709)
        stream.options = {"preset": "veryfast", "crf": "23", "maxrate": "4M", "bufsize": "8M", "flags": "+bitexact"}

    @property
    def until(self) -> Fraction:
        """When the last picture ends, in seconds."""
        return self._end * TICKS

    def take(self, frame: VideoFrame) -> None:
        """Take a decoded picture."""
        _check_side(frame.width, frame.height, self._limits)
        shape = (frame.width, frame.height, frame.format.name, *_turns(frame))
        if shape != self._shape:
            self._shape, self._graph = shape, self._built(frame)
        assert self._graph is not None
        self._graph.vpush(frame)
        self._pull()

    def end(self) -> None:
        """Encode what is left."""
        if self._graph:
            self._graph.vpush(None)
            self._pull()
        self._mux(self._stream.encode())

    def _mux(self, packets: "list[Packet[Any]]") -> None:
        """Write packets, without what lies beside the picture in them: the encoder's settings, and others' captions."""
        if self._cleaner is None:
            self._target.start_encoding()  # tells what a stream is
            self._cleaner = BitStreamFilterContext("filter_units=remove_types=6", self._stream)
        for packet in packets:
            for cleaned in self._cleaner.filter(packet):
                cleaned.stream = self._stream
                self._target.mux(cleaned)

    def _built(self, frame: VideoFrame) -> Graph:
        """The filters for pictures of one shape; every shape ends at the size that the first one had."""
        turns = _turns(frame)
        width, height = self.size[::-1] if TRANSPOSE in turns else self.size
        told = self._video.codec_context
        is_wide = told.color_trc in HDR or told.color_primaries in WIDE
        cube = colours.cube_of(told.color_primaries, told.color_trc) if is_wide else None
        table = self._folder / "colours.cube"
        if cube:
            table.write_text(cube)
        graph = Graph()
        steps = [
            *([("bwdif", "deint=interlaced")] if min(frame.width, frame.height) >= 8 else []),  # it takes none smaller
            ("scale", f"{width}:{height}:in_color_matrix={_matrix(frame)}" + ("" if cube else STANDARD)),
            *([("lut3d", f"file={table}:interp=tetrahedral"), ("scale", STANDARD[1:])] if cube else []),
            ("setsar", "1"),
            ("format", "yuv420p"),
            *turns,
            ("buffersink", None),
        ]
        source = graph.add_buffer(template=self._video, width=frame.width, height=frame.height, format=frame.format)
        graph.link_nodes(source, *(graph.add(name, arguments) for name, arguments in steps)).configure()
        table.unlink(missing_ok=True)
        return graph

    def _pull(self) -> None:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            at = self._end
            if frame.pts is not None and frame.time_base:
                at = round((frame.pts * frame.time_base - self._start) / TICKS)
            if at < self._earliest:
                continue  # before the start, out of order, or one of more than a screen shows
            _check_length(float(at * TICKS), self._limits)
            self._poster.consider(frame, float(at * TICKS))
            frame.pts, frame.time_base, frame.pict_type = at, TICKS, 0
            self._earliest, self._end = at + self._least_apart, at + self._ticks_a_frame
            self._mux(self._stream.encode(frame))


def _matrix(frame: VideoFrame) -> str:
    """The matrix of a picture's colours: as it says, or else by its lines, as players do (ITU-R BT.601 and BT.709)."""
    if frame.colorspace != UNSPECIFIED:
        return "auto"
    return "bt709" if min(frame.width, frame.height) >= SHORTEST else "bt601"


TRANSPOSE = ("transpose", "cclock_flip")
"""Exchanges x and y: the filter's "cclock_flip" is no more than that."""


def _turns(frame: VideoFrame) -> list[tuple[str, str | None]]:
    """What turns and mirrors a picture as its display matrix says: x' = ax + cy, y' = bx + dy, in 16.16 each."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)) if matrix else (1, 0, 0, 0, 1)
    lies = abs(b) > abs(a)
    turns: list[tuple[str, str | None]] = [TRANSPOSE] if lies else []
    if (c if lies else a) < 0:
        turns.append(("hflip", None))
    if (b if lies else d) < 0:
        turns.append(("vflip", None))
    return turns


class _Sound:
    """The video's sound on its way: two channels, 48 kHz, in step with the pictures, encoded."""

    def __init__(self, target: OutputContainer, audio: AudioStream, start: Fraction) -> None:
        self._target, self._audio, self._start = target, audio, start
        self._graph: Graph | None = None
        self._shape: tuple[Any, ...] = ()
        self._stream = target.add_stream("aac", rate=SAMPLES_A_SECOND)
        self._stream.layout = "stereo"
        self._stream.bit_rate = 128_000
        self._stream.options = {"flags": "+bitexact"}  # without the encoder's name

    def take(self, frame: AudioFrame) -> None:
        """Take decoded sound."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._shape, self._graph = shape, self._built(frame)
        assert self._graph is not None
        if frame.pts is not None and frame.time_base:
            frame.pts -= round(self._start / frame.time_base)
        self._graph.push(frame)
        self._pull()

    def end(self) -> None:
        """Encode what is left."""
        if self._graph:
            self._graph.push(None)
            self._pull()
        self._target.mux(self._stream.encode())

    def _built(self, frame: AudioFrame) -> Graph:
        graph = Graph()
        graph.link_nodes(
            graph.add_abuffer(template=self._audio),
            graph.add("aresample", "async=1000:first_pts=0"),  # fills gaps, and cuts what overlaps
            graph.add("aformat", f"sample_fmts=fltp:channel_layouts=stereo:sample_rates={SAMPLES_A_SECOND}"),
            graph.add("asetnsamples", "n=1024:p=0"),
            graph.add("abuffersink"),
        ).configure()
        return graph

    def _pull(self) -> None:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
                assert isinstance(frame, AudioFrame)
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self._target.mux(self._stream.encode(frame))


class _Poster:
    """Chooses the picture that stands for the video: the first with light and shade, or else the one with the most."""

    def __init__(self, every: float) -> None:
        self._every, self._next, self._contrast = every, 0.0, -1.0
        self.best: Image.Image | None = None

    def consider(self, frame: VideoFrame, at: float) -> None:
        """Look at a picture, if one is due and none is good enough yet."""
        if at < self._next or self._contrast >= GOOD_CONTRAST:
            return
        self._next = at + self._every
        image = _image_of(frame)
        contrast = ImageStat.Stat(image.convert("L").resize((64, 64))).stddev[0]
        if contrast > self._contrast:
            self._contrast, self.best = contrast, image


def _image_of(frame: VideoFrame) -> Image.Image:
    """A picture that the filters made, in RGB; through filters too, as `reformat` of PyAV 14 mistakes the matrix."""
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICKS),
        graph.add("scale", "in_color_matrix=bt709:in_range=tv"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(frame)
    image: Image.Image = graph.vpull().to_image()  # type: ignore[no-untyped-call]
    return image


GOOD_CONTRAST = 24
"""Standard deviation of the brightness (0 to 255) of a picture that shows something; black has 0."""
