"""Cameras and streams that lie: each input, and the one sentence or NO_READ that it must come to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import numpy as np
import pytest

from edge.cameras.addresses import parse_address
from edge.cameras.capture import CapturedCamera, CaptureLimits
from edge.cameras.device_settings import DeviceSettings
from edge.cameras.network import NetworkStream
from edge.cameras.opencv import Kind, OpenCvSource
from edge.cameras.recordings import recorded_camera
from edge.errors import SettingsError, SourceError
from edge.opencv import cv2
from edge.records import CameraCondition, CameraState, Frame
from edge.redacting import redacted
from edge.settings import load_settings
from tests.conftest import ROOT
from tests.edge.cameras.clips import ffmpeg, first_frame, frames_of, play, rtsp_server, state_with

# --- a camera's answers, and their words
# --------------------------------------------------------------------------------


@contextmanager
def answering(reply: bytes | None, *, then_leaves: bool = False) -> Iterator[int]:
    """Listen, and give every request one reply with its CSeq, or none at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while asked := connection.recv(4096):
                    number = next((each for each in asked.split(b"\r\n") if each.lower().startswith(b"cseq")), b"")
                    if reply is None:
                        continue
                    connection.sendall(reply.replace(b"CSEQ", number))
                    if not reply or then_leaves:
                        return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


ANSWERS = {
    "401": (b"RTSP/1.0 401 Unauthorized\r\nCSEQ\r\n\r\n", "refuses user or password (401)"),
    "403": (b"RTSP/1.0 403 Forbidden\r\nCSEQ\r\n\r\n", "forbids this user the stream (403)"),
    "404": (b"RTSP/1.0 404 Not Found\r\nCSEQ\r\n\r\n", "has no such stream (404)"),
    "400": (b"RTSP/1.0 400 Bad Request\r\nCSEQ\r\n\r\n", "does not understand the request (400)"),
    "453": (b"RTSP/1.0 453 Not Enough Bandwidth\r\nCSEQ\r\n\r\n", "refuses the stream (4xx)"),
    "503": (b"RTSP/1.0 503 Service Unavailable\r\nCSEQ\r\n\r\n", "has a fault of its own (5xx)"),
    "it hangs up": (b"", "sends is no video that can be read"),
    "noise": (b"\x00\xff" * 200, "nothing that can be read came from"),
    "a web server": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "another service answers there"),
    "it says nothing": (None, "nothing that can be read came from"),
}


@pytest.mark.parametrize(("reply", "says"), ANSWERS.values(), ids=ANSWERS.keys())
def test_each_refusal_of_a_camera_has_its_own_sentence(reply: bytes | None, says: str) -> None:
    """Never `it cannot be opened` alone, never FFmpeg's words, never a piece of the password."""
    with answering(reply) as port:
        # a missing answer is waited for
        max_age_ms = 1000 if reply is None or reply.startswith(b"\x00") else 60_000
        stream = NetworkStream(f"rtsp://eye:hunter2@127.0.0.1:{port}/line?token=tttt", max_age_ms=max_age_ms)
        with pytest.raises(SourceError) as told:
            stream.open()
        stream.close()
    assert says in str(told.value)
    assert not any(secret in str(told.value) + stream.shown for secret in ("hunter2", "eye", "tttt"))


SENT_ELSEWHERE = {
    "301": (
        "rtsp",
        b"RTSP/1.0 301 Moved\r\nCSEQ\r\nLocation: rtsp://127.0.0.1:1/new\r\n\r\n",
        "rtsp://127.0.0.1:1/new (301)",
    ),
    "302": (
        "rtsp",
        b"RTSP/1.0 302 Found\r\nCSEQ\r\nLocation: http://127.0.0.1:1/x\r\n\r\n",
        "http://127.0.0.1:1/x (302)",
    ),
    "302 with a token": (
        "rtsp",
        b"RTSP/1.0 302 Found\r\nCSEQ\r\nLocation: rtsp://eye:hunter2@127.0.0.1:1/x?token=tttt\r\n\r\n",
        "rtsp://***@127.0.0.1:1/x?*** (302)",
    ),
    "302 to a file": (
        "rtsp",
        b"RTSP/1.0 302 Found\r\nCSEQ\r\nlocation: file:///etc/passwd\r\n\r\n",
        "etc/passwd (302)",
    ),
    "302 with an escape": (
        "rtsp",
        b"RTSP/1.0 302 Found\r\nCSEQ\r\nLocation: rtsp://127.0.0.1:1/\x1b[2Jx\r\n\r\n",
        r"127.0.0.1:1/\x1b[2Jx (302)",
    ),
    "302 to nowhere": ("rtsp", b"RTSP/1.0 302 Found\r\nCSEQ\r\n\r\n", "elsewhere (302) and does not say where"),
    "302 of a web camera": (
        "http",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/other\r\nContent-Length: 0\r\n\r\n",
        "http://127.0.0.1:1/other (302)",
    ),
    "REDIRECT": (
        "rtsp",
        b"REDIRECT rtsp://127.0.0.1/line RTSP/1.0\r\nCSeq: 7\r\nLocation: rtsp://127.0.0.1:1/other\r\n\r\n",
        "rtsp://127.0.0.1:1/other (REDIRECT)",
    ),
}


@pytest.mark.parametrize(("scheme", "reply", "says"), SENT_ELSEWHERE.values(), ids=SENT_ELSEWHERE)
def test_a_camera_that_sends_its_viewers_elsewhere(scheme: str, reply: bytes, says: str) -> None:
    """The sentence names where it sends, and what to do. It does not blame the place that was set, nor tell secrets."""
    with answering(reply) as port:
        stream = NetworkStream(f"{scheme}://eye:hunter2@127.0.0.1:{port}/line?token=tttt", max_age_ms=60_000)
        with pytest.raises(SourceError) as told:
            stream.open()
        stream.close()
        assert f"127.0.0.1:{port} sends viewers" in str(told.value)
    assert says in str(told.value)
    assert not any(secret in str(told.value) + stream.shown for secret in ("hunter2", "eye", "tttt"))


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/random"])
def test_a_device_that_is_no_camera_is_told_so(device: str) -> None:
    """It is not said that another program may use it."""
    with pytest.raises(SourceError, match=f"{device} is a device, but no camera"):
        OpenCvSource("device", device, max_age_ms=1000, device=DeviceSettings()).open()


def parts(count: int) -> Iterator[bytes]:
    """Give the answer of a camera that sends Motion JPEG: head, then parts."""
    jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    yield b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"
    for _ in range(count):
        yield b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)


def test_a_stream_that_ends_is_not_said_to_hang() -> None:
    """The camera that hangs up after some pictures, and the one that sends nonsense after them, are no slow network."""
    for last in (b"", b"--b\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nsorry\r\n"):
        with answering(b"".join([*parts(8), last])[: -1 if last else None], then_leaves=True) as port:
            limits = CaptureLimits(60_000)
            url = f"http://127.0.0.1:{port}/video"
            with CapturedCamera("c", lambda: NetworkStream(url, max_age_ms=60_000), live=True, limits=limits) as camera:  # noqa: B023
                first_frame(camera)
                detail = state_with(camera, CameraCondition.LOST).detail
        assert "within 60 s" not in detail, detail


def test_a_port_that_nobody_serves_and_a_name_that_nobody_has() -> None:
    """Refused and unknown are two things."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url, says in (
        (f"rtsp://eye:hunter2@127.0.0.1:{port}/line", "refuses the connection"),
        ("rtsp://eye:hunter2@no-such-camera.invalid/line", "the name no-such-camera.invalid is not known"),
    ):
        with pytest.raises(SourceError, match=says):
            NetworkStream(url, max_age_ms=1000).open()


def test_a_password_with_every_sign_opens_the_camera() -> None:
    """As it is or in percent encoding; a wrong one is refused with the right sentence."""
    with rtsp_server("0", "auth", server="clock_server.py") as (_, port):
        for secret, opens in (("p@ss/w:rd#1", True), ("p%40ss%2Fw%3Ard%231", True), ("p@ss", False)):
            url = f"rtsp://eye:{secret}@127.0.0.1:{port}/line"
            with CapturedCamera("c", lambda url=url: NetworkStream(url, max_age_ms=60_000), live=True) as camera:
                if opens:
                    assert first_frame(camera).pixels.shape == (240, 320, 3)
                else:
                    assert "(401)" in state_with(camera, CameraCondition.LOST).detail


# --- addresses and what is shown of them ----------------------------------------------------------------------------

# secret pieces, and the address that holds them
SECRETS = [
    (("p@ss", "w/rd", "eye"), "rtsp://eye:p@ss:w/rd@10.0.0.1:554/a"),
    (("pa#ss", "ss@"), "rtsp://eye:pa#ss@10.0.0.1/x"),
    (("s3cr3ttoken",), "rtsp://s3cr3ttoken@10.0.0.1/x"),
    (("abcd1234",), "http://10.0.0.1/video.cgi?user=a&auth=abcd1234"),
    (("9f86d081884c7d659a2feaa0c55ad015",), "rtsp://10.0.0.1/live/9f86d081884c7d659a2feaa0c55ad015/ch1"),
    (("eyJhbGciOiJIUzI1NiJ9",), "rtsp://10.0.0.1/eyJhbGciOiJIUzI1NiJ9.x.y/1"),
    (("my pass", "pass@"), "rtsp://eye:my pass@10.0.0.1/x"),
    (("hunter2",), "rtspsrc location=rtsp://10.0.0.1/1 user-id=eye user-pw=hunter2 ! appsink"),
    (("hun ter2", "ter2"), 'rtspsrc location=rtsp://10.0.0.1/1 user-pw="hun ter2" ! appsink'),
    (("p w",), 'rtspsrc location="rtsp://eye:p w@10.0.0.1/1" ! appsink'),
    (("it's",), "rtsp://eye:it's@10.0.0.1/x"),
    (("key=77",), "rtsp://10.0.0.1/a#key=77"),
]


@pytest.mark.parametrize(("secrets", "text"), SECRETS)
@pytest.mark.parametrize("around", ["{}", "opening {}: refused", 'received "{}" (str)'])
def test_no_piece_of_a_secret_is_shown(secrets: tuple[str, ...], text: str, around: str) -> None:
    """Neither alone nor in a sentence; where the camera is still is."""
    if around.startswith("opening") and " pass@" in text:
        around = "{}"  # in a sentence an address ends at a space; cameras show theirs alone
    if '"' in text:
        around = "{}"
    shown = redacted(around.format(text))
    assert not [secret for secret in secrets if secret in shown]
    assert "10.0.0.1" in shown


REFUSED_ADDRESSES = [
    ("rtsp://u:p@a:1/b@10.0.0.1/c", "can be read in two ways"),
    ("rtsp://u:p@cam.local/b@10.0.0.1/c", "can be read in two ways"),
    ("rtsp://u:p@cam/b@rear/c", "can be read in two ways"),
    ("rtsp://eye:12#3@camera/x", "can be read in two ways"),
    ("rtsp://10.0.0.1:99999/x", "a port from 1 to 65535"),
    ("rtsp://", "expected host or host:port"),
    ("file:///etc/passwd", "is no address of a camera"),
    ("concat://a", "is no address of a camera"),
    ("rtsp://10.0.0.1/a\nb", "a control character"),
]


@pytest.mark.parametrize(("url", "says"), REFUSED_ADDRESSES)
def test_an_address_that_could_mean_two_things_is_refused(url: str, says: str) -> None:
    """It is not guessed which part is the password. No local file is opened as if it were a camera."""
    with pytest.raises(SourceError, match=says):
        parse_address(url)


# --- damaged recordings ---------------------------------------------------------------------------------------------

CODECS = {
    "h264": (("-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p"), "a.mp4", 0.05),
    "h264 interlaced": (("-c:v", "libx264", "-g", "25", "-flags", "+ildct+ilme", "-x264opts", "tff=1"), "b.mkv", 0.05),
    "mpeg4": (("-c:v", "mpeg4", "-q:v", "4", "-g", "25"), "c.mp4", 0.1),
    "mpeg2 interlaced": (("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "4", "-g", "12"), "d.mpg", 0.1),
    "mjpeg": (("-c:v", "mjpeg", "-q:v", "4"), "e.avi", 0.8),
    "wmv": (("-c:v", "wmv2", "-q:v", "4", "-g", "25"), "f.wmv", 0.4),
    "hevc with hashes": (("-c:v", "libx265", "-x265-params", "log-level=none:keyint=25:hash=1"), "g.mkv", 0.4),
}


def flipped(content: bytes, seed: int, count: int) -> bytes:
    """Turn single bits over, not in the container's head and tail."""
    generator = np.random.default_rng(seed)
    damaged = bytearray(content)
    for at in generator.integers(len(damaged) // 10, len(damaged) * 9 // 10, count):
        damaged[at] ^= 1 << int(generator.integers(8))
    return bytes(damaged)


def seen(clip: Path) -> tuple[dict[int, Frame], int]:
    """Return the frames by their time, and how many pictures were told as unreadable."""
    with recorded_camera("c", clip) as camera:
        items, _ = play(camera)
    frames = frames_of(items)
    return {frame.captured_ns: frame for frame in frames}, len(items) - len(frames)


@pytest.mark.parametrize(("codec", "name", "at_most"), CODECS.values(), ids=CODECS.keys())
def test_damage_that_can_be_known_is_no_frame(
    tmp_path: Path, codec: tuple[str, ...], name: str, at_most: float
) -> None:
    """Of the pictures that bit flips change visibly, no more than docs/cameras.md says pass as frames.

    Visibly: more than 200 pixels by more than 25 grey levels. A repaired or repeated picture of the codec is not passed
    on.
    """
    ffmpeg(*codec, tmp_path / name, source="testsrc2=size=320x240:rate=25:duration=3,noise=alls=8:allf=t")
    good, unread = seen(tmp_path / name)
    assert (len(good), unread) == (75, 0)
    content, wrong, passed = (tmp_path / name).read_bytes(), 0, 0
    for seed in range(6):
        damaged = tmp_path / f"damaged-{name}"
        damaged.write_bytes(flipped(content, seed, 6))
        frames, unread = seen(damaged)
        wrong += unread
        for at, frame in frames.items():
            if at in good and int((cv2.absdiff(frame.pixels, good[at].pixels).max(axis=2) > 25).sum()) > 200:
                passed += 1
    assert wrong > 0
    assert passed <= at_most * (wrong + passed), f"{passed} damaged pictures passed, {wrong} were told"


def test_cut_jpegs_of_a_recording_are_no_frames(tmp_path: Path) -> None:
    """Of each third picture the second half is gone; the others are read, in their order and at their times."""
    ffmpeg("-c:v", "mjpeg", "-q:v", "3", tmp_path / "whole.avi", source="testsrc2=size=320x240:rate=25:duration=1")
    cut = tmp_path / "cut.avi"
    with av.open(str(tmp_path / "whole.avi")) as whole, av.open(str(cut), "w") as out:
        stream = out.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(each for each in whole.demux(whole.streams.video[0]) if each.size):
            content = bytes(packet)
            half = av.Packet(content[: len(content) // 2] if number % 3 == 0 else content)
            half.stream, half.pts, half.dts, half.time_base = stream, packet.pts, packet.dts, packet.time_base
            half.is_keyframe = True
            out.mux(half)
    with recorded_camera("c", cut) as camera:
        items, end = play(camera)
    assert [isinstance(item, Frame) for item in items] == [number % 3 != 0 for number in range(25)]
    assert "the picture is damaged" in items[0].detail  # type: ignore[union-attr] # the test knows which of the union
    assert end.detail == ""


def test_a_picture_of_half_the_height_is_no_field(tmp_path: Path) -> None:
    """FFmpeg makes a whole picture of two fields, and of one that stands alone: here that keeps its own size."""
    small = cv2.imencode(".jpg", np.full((120, 320, 3), 90, np.uint8))[1].tobytes()
    ffmpeg("-c:v", "mjpeg", "-q:v", "3", tmp_path / "whole.avi", source="testsrc2=size=320x240:rate=25:duration=0.2")
    mixed = tmp_path / "mixed.avi"
    with av.open(str(tmp_path / "whole.avi")) as whole, av.open(str(mixed), "w") as out:
        stream = out.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(each for each in whole.demux(whole.streams.video[0]) if each.size):
            given = av.Packet(bytes(packet) if number else small)
            given.stream, given.pts, given.dts, given.time_base = stream, packet.pts, packet.dts, packet.time_base
            given.is_keyframe = True
            out.mux(given)
    with recorded_camera("c", mixed) as camera:
        items, _ = play(camera)
    first, *others = items
    assert isinstance(first, Frame)
    assert first.pixels.shape == (120, 320, 3)
    assert ["expected the 320 x 120 px" in each.detail for each in others] == [True] * 4  # type: ignore[union-attr]


def test_a_list_of_other_files_is_no_video(tmp_path: Path) -> None:
    """A recording opens no second file and no address, whatever it says it is."""
    other = tmp_path / "other.ts"
    ffmpeg("-c:v", "mpeg2video", other)
    for number, text in enumerate(
        (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{other}'\n",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n",
        )
    ):
        clip = tmp_path / f"{number}.mp4"
        clip.write_text(text)
        with pytest.raises(SourceError, match="is no video that can be read"), recorded_camera("c", clip):
            pass


@pytest.mark.parametrize("name", ["a.mp3", "b.m4a"])
def test_a_cover_beside_sound_is_no_recording(tmp_path: Path, name: str) -> None:
    """The picture of a sleeve was never before the camera."""
    ffmpeg("-c:v", "mjpeg", "-frames:v", "1", tmp_path / "cover.jpg")
    ffmpeg("-c:a", "pcm_s16le", tmp_path / "sound.wav", source="sine=duration=1")
    inputs = ("-i", tmp_path / "sound.wav", "-i", tmp_path / "cover.jpg", "-map", "0:a", "-map", "1:v")
    how = ("-c:v", "mjpeg", "-disposition:v:0", "attached_pic")
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *inputs, *how, tmp_path / name], check=True)
    with pytest.raises(SourceError, match="holds no video"), recorded_camera("c", tmp_path / name):
        pass


def test_a_codec_whose_damage_is_not_told_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not only those that somebody thought of: all but those of which it was measured."""
    for codec, warned in (("libx264", False), ("mjpeg", False), ("ffv1", True), ("libtheora", True), ("qtrle", True)):
        caplog.clear()
        ffmpeg("-c:v", codec, "-frames:v", "3", tmp_path / "clip.mkv")
        with recorded_camera("c", tmp_path / "clip.mkv") as camera:
            play(camera)
        assert ("can hardly be known" in caplog.text) is warned, codec


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = [b"caf\xe9.mp4", b"2026-01-01T12:30:00.mp4", b"http:.mp4", b"a b%20#?.mp4", b"wow!.mp4", b"-v.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_may_have_any_name(tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no UTF-8, colons, signs: the file is opened and not taken for something else."""
    ffmpeg("-c:v", "mpeg4", "-frames:v", "3", tmp_path / "clip.mp4")
    path = tmp_path / os.fsdecode(name)
    (tmp_path / "clip.mp4").rename(path)
    monkeypatch.chdir(tmp_path)
    for given in (path, Path(path.name)):
        with recorded_camera("c", given) as camera:
            items, end = play(camera)
        assert (len(frames_of(items)), end.detail) == (3, "")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("99999999999", "expected the number of a video device, 0 to 255"),
        ("'256'", "expected the number of a video device, 0 to 255"),
        ("-1", "from 0 on"),
        ("true", "expected"),
        ("1e3", "expected the whole number of a device, or the name of a file in quotes"),
        ("2.0", "expected the whole number of a device, or the name of a file in quotes"),
        ("rtsp://u:p@cam/b@rear/c", "can be read in two ways"),
        ("file:///etc/passwd", "is no address of a camera"),
        ("/dev/video99999999999", "expected the number of a video device, 0 to 255"),
        ("''", "expected a device, file, folder, URL or pipeline"),
        ('"a\\0b.mp4"', "expected a device, file, folder, URL or pipeline"),
    ],
)
def test_a_source_that_is_none_is_refused_with_its_key(tmp_path: Path, source: str, says: str) -> None:
    """It is refused when the settings are read, not by a crash of the camera's thread."""
    (tmp_path / "line.yaml").write_text(f"camera: {{source: {source}}}\n")
    with pytest.raises(SettingsError, match=r"camera\.source") as told:
        load_settings(tmp_path / "line.yaml")
    assert says in str(told.value)


def test_a_recording_in_memory_is_no_device(tmp_path: Path) -> None:
    """The folder for files in memory begins as the names of devices do, and holds files."""
    (tmp_path / "line.yaml").write_text("camera: {source: /dev/shm/line.mp4}\n")
    assert load_settings(tmp_path / "line.yaml").camera.resolved_kind() == "file"


def test_a_name_that_is_too_long_is_no_traceback(tmp_path: Path) -> None:
    """It is read as the name of a file, which is then not there."""
    (tmp_path / "line.yaml").write_text(f"camera: {{source: {'x' * 5000}.mp4}}\n")
    assert load_settings(tmp_path / "line.yaml").camera.resolved_kind() == "file"


@pytest.mark.parametrize(
    ("kind", "source"), [("device", "/dev/caf\udce9"), ("gstreamer", "videotestsrc name=caf\udce9 ! appsink")]
)
def test_a_live_source_that_is_no_utf_8_ends_no_process(kind: Kind, source: str) -> None:
    """OpenCV dies of such a text (SIGSEGV); here it is a sentence."""
    with pytest.raises(SourceError, match="expected UTF-8, received"):
        OpenCvSource(kind, source, max_age_ms=1000, device=DeviceSettings()).open()


# --- drivers that hang ----------------------------------------------------------------------------------------------

HANGS = """
import sys, time
from edge.cameras.capture import CapturedCamera
from edge.cli.console import run_app
import typer

class Source:
    shown, total = "slow", 0
    def open(self): pass
    def take(self):
        import ctypes
        ctypes.CDLL(None).sleep(7)  # foreign code, which gives the interpreter's lock away and takes it back
        return None
    def close(self): pass

app = typer.Typer()

@app.command()
def main() -> None:
    with CapturedCamera("slow", Source, live=True) as camera:
        camera.read(0.3)
    print("left")
    raise typer.Exit(9)

run_app(app)
"""


def test_a_camera_that_hangs_at_the_stop_ends_no_process_by_a_signal() -> None:
    """The command ends with its own exit code and all that it said, not by SIGABRT."""
    command = [sys.executable, "-c", HANGS]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (9, "left"), ended.stderr


def test_a_healthy_camera_is_never_lost_at_its_start() -> None:
    """The camera is starting while it is opened; the first thing after that is a frame."""
    with rtsp_server() as (_, port):
        url = f"rtsp://127.0.0.1:{port}/line"
        limits = CaptureLimits(60_000)
        said: list[Callable[[], object] | str] = []
        with CapturedCamera("c", lambda: NetworkStream(url, max_age_ms=60_000), live=True, limits=limits) as camera:
            while not isinstance(item := camera.read(0.1), Frame):
                assert isinstance(item, CameraState)
                said.append(item.condition.value)
    assert set(said) <= {"starting"}
