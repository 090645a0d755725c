from __future__ import annotations

import gc
import struct
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import av
import numpy as np
import pytest

from edge.cameras.images import ImagesCamera
from edge.cameras.recordings import recorded_camera
from edge.errors import SourceError
from edge.opencv import cv2
from edge.records import CameraCondition, CameraState
from tests.edge.cameras.clips import ffmpeg, frames_of, play, write_clip

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_a_file_gives_every_frame_in_order_with_its_own_time(tmp_path: Path) -> None:
    """A file drops nothing, however slowly it is read. Frame i of a 20 frames/s clip is at 50 i ms."""
    clip = write_clip(tmp_path / "clip.mp4", 30)
    with recorded_camera("c", clip, started_at=START) as camera:
        time.sleep(0.3)  # a reader that is late
        items, end = play(camera)
    frames = frames_of(items)
    assert [frame.index for frame in frames] == list(range(30))
    assert [round(frame.captured_ns / 1e6) for frame in frames] == [50 * i for i in range(30)]
    assert (frames[20].captured_at - START).total_seconds() == pytest.approx(1.0)
    np.testing.assert_allclose([frame.pixels.mean() for frame in frames], [5 * i for i in range(30)], atol=4)
    assert (end.detail, camera.dropped) == ("", 0)


def test_a_clip_that_was_cut_off_says_so(tmp_path: Path) -> None:
    """A damaged recording gives all that can be decoded, and its end says how much was missing."""
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 20, (320, 240))
    noise = np.random.default_rng(0)
    for _ in range(40):
        writer.write(noise.integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    with recorded_camera("c", clip) as camera:
        items, end = play(camera)
    assert 10 < len(items) < 30
    assert f"ended after {len(items)} of 40 frames: it is cut off" in end.detail


@pytest.mark.parametrize("content", [None, b"", b"this is no video", b"\x00\x00\x00\x18ftypmp42"])
def test_a_recording_that_cannot_be_opened_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """Absent, empty, foreign and beheaded files are refused when the camera is opened."""
    clip = tmp_path / "clip.mp4"
    if content is not None:
        clip.write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4"), recorded_camera("c", clip):
        pass


def test_a_folder_is_read_in_name_order_and_a_bad_picture_is_told(tmp_path: Path) -> None:
    """A picture that is none is UNREADABLE under its index, and the next one is read."""
    for name in ("b", "a"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 5, 3), 9, np.uint8))
    (tmp_path / "aa.jpg").write_bytes(b"no picture")
    with ImagesCamera("c", tmp_path) as camera:
        items = [camera.read(0) for _ in range(4)]
    assert [getattr(item, "name", "") for item in items] == ["a.png", "aa.jpg", "b.png", ""]
    bad, end = items[1], items[3]
    assert isinstance(bad, CameraState)
    assert isinstance(end, CameraState)
    assert (bad.condition, bad.index) == (CameraCondition.UNREADABLE, 1)
    assert "aa.jpg is no picture" in bad.detail
    assert end.condition is CameraCondition.END_OF_STREAM


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    """An empty or absent folder is refused, naming what was expected."""
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SourceError, match=r"No pictures at .*\.png"), ImagesCamera("c", path):
            pass


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        (("-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-pix_fmt", "yuv420p"), "i.mp4"),
        (("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "4"), "i.mpg"),
        (("-c:v", "libx264", "-pix_fmt", "yuv422p10le"), "ten-bits.mkv"),
        (("-c:v", "mjpeg", "-q:v", "3"), "m.avi"),
    ],
)
def test_the_pixels_are_those_that_ffmpeg_sees(tmp_path: Path, codec: tuple[str, ...], name: str) -> None:
    """Interlaced or not, of 8 bits or 10: the pixels are the recording's own, as another program decodes them."""
    clip = tmp_path / name
    ffmpeg(*codec, clip)
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clip, "-f", "rawvideo", "-pix_fmt", "bgr24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(-1, 240, 320, 3)
    with recorded_camera("c", clip) as camera:
        items, end = play(camera)
    frames = frames_of(items)
    assert (len(items), end.detail) == (len(frames), "")
    assert len(frames) == len(expected) == 50
    # two versions of FFmpeg scale colours, above all of half pictures, a little differently; memory would differ by 80
    for frame, other in zip(frames, expected, strict=True):
        assert np.abs(frame.pixels.astype(int) - other).mean() < 5


# x', y' = a x + c y + tx, b x + d y + ty of a picture of 320 x 240: every way in which a picture can be laid down.
MATRICES = {
    "upright": (1, 0, 0, 1, 0, 0),
    "a quarter clockwise": (0, 1, -1, 0, 240, 0),
    "half": (-1, 0, 0, -1, 320, 240),
    "a quarter counter-clockwise": (0, -1, 1, 0, 0, 320),
    "mirrored": (-1, 0, 0, 1, 320, 0),
    "upside down": (1, 0, 0, -1, 0, 240),
    "across": (0, 1, 1, 0, 0, 0),
    "across and over": (0, -1, -1, 0, 240, 320),
}


def turned(clip: Path, matrix: tuple[float, ...]) -> Path:
    """Write the matrix into the header of an mp4's track (16.16 fixed point, see ISO 14496-12, 8.3.2)."""
    content = bytearray(clip.read_bytes())
    a, b, c, d, tx, ty = (round(65536 * value) for value in matrix)
    upright = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    at = content.index(upright, content.index(b"tkhd"))
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, tx, ty, 1 << 30)
    clip.write_bytes(content)
    return clip


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_a_turned_recording_is_turned_upright(tmp_path: Path, matrix: tuple[float, ...]) -> None:
    """With every OpenCV alike, and as ffmpeg itself turns it."""
    clip = tmp_path / "clip.mp4"
    ffmpeg("-c:v", "mpeg4", "-q:v", "2", "-frames:v", "2", clip)
    turned(clip, matrix)
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clip, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "bgr24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    with recorded_camera("c", clip) as camera:
        pixels = frames_of(play(camera)[0])[0].pixels
    assert pixels.shape == ((240, 320, 3) if matrix[0] else (320, 240, 3))
    assert np.abs(pixels.astype(int) - np.frombuffer(raw, np.uint8).reshape(pixels.shape)).mean() < 1


def test_a_recording_turned_by_part_of_a_quarter_is_not_read(tmp_path: Path) -> None:
    """Nobody can say which pixels such a picture has, so it is not measured."""
    clip = tmp_path / "clip.mp4"
    ffmpeg("-c:v", "mpeg4", "-frames:v", "2", clip)
    with recorded_camera("c", turned(clip, (0.866, 0.5, -0.5, 0.866, 0, 0))) as camera:
        items, _ = play(camera)
    assert frames_of(items) == []
    assert "a part of a quarter turn" in items[0].detail  # type: ignore[union-attr]


@pytest.mark.parametrize("matrix", [MATRICES["upright"], MATRICES["half"], (0.866, 0.5, -0.5, 0.866, 0, 0)])
def test_pictures_leave_memory_when_they_are_let_go(tmp_path: Path, matrix: tuple[float, ...]) -> None:
    """No picture waits for Python's collector, which comes after hundreds: those of 4K would fill gigabytes."""
    clip = tmp_path / "clip.mp4"
    ffmpeg("-c:v", "mpeg4", "-frames:v", "50", clip)
    turned(clip, matrix)
    gc.collect()
    gc.disable()
    try:
        with recorded_camera("c", clip) as camera:
            assert len(play(camera)[0]) == 50
            left = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 8


def test_sixteen_bits_are_not_guessed(tmp_path: Path) -> None:
    """Levels of 12 bits in 16 are not read until it is set how many count. Then they are as bright as they were."""
    levels = np.tile(np.arange(64, dtype=np.uint16) * 64, (48, 1))  # 0 to 4032 of 4095
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="gray16le")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="gray16le")))
        container.mux(stream.encode(None))
    with recorded_camera("c", clip) as camera:
        items, _ = play(camera)
    assert frames_of(items) == []
    assert "it has 16 bits for each level" in items[0].detail  # type: ignore[union-attr]
    with recorded_camera("c", clip, depth_bits=12) as camera:
        (frame,) = frames_of(play(camera)[0])
    np.testing.assert_array_equal(frame.pixels[:, :, 1], np.tile(np.arange(64) * 4, (48, 1)))  # 12 bits less 4


def test_a_recording_that_changes_its_size_is_no_longer_read(tmp_path: Path) -> None:
    """A calibration for one size does not hold for another; it holds again when the size is back."""
    parts = []
    for number, size in enumerate(("320x240", "640x480", "320x240")):
        parts.append(tmp_path / f"{number}.ts")
        source = f"testsrc2=size={size}:rate=25:duration=0.4"
        ffmpeg("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", parts[-1], source=source)
    clip = tmp_path / "clip.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    with recorded_camera("c", clip) as camera:
        items, _ = play(camera)
    assert {frame.pixels.shape for frame in frames_of(items)} == {(240, 320, 3)}
    told = [item.detail for item in items if isinstance(item, CameraState)]
    assert any("gives 640 x 480 px, expected the 320 x 240 px that it gave at first" in detail for detail in told)
    assert len(frames_of(items)) > 10
    with recorded_camera("c", clip, size_px=(640, 480)) as camera:
        items, _ = play(camera)
    assert {frame.pixels.shape for frame in frames_of(items)} == {(480, 640, 3)}
