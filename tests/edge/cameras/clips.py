"""Clips and servers that the cameras' tests share. Not a test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from edge.opencv import cv2
from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame


def write_clip(path: Path, frames: int) -> Path:
    """Write a clip at 20 frames/s whose frame i is uniformly grey with value 5 i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 5 * index, np.uint8))
    writer.release()
    return path


def ffmpeg(*arguments: str | Path, source: str = "testsrc2=size=320x240:rate=25:duration=2") -> None:
    """Run Debian's ffmpeg on a source that it draws itself."""
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *map(str, arguments)]
    subprocess.run(command, check=True)


def play(camera: Camera) -> tuple[list[Frame | CameraState], CameraState]:
    """Read to the end; UNREADABLE ones stand in their place."""
    items: list[Frame | CameraState] = []
    while True:
        item = camera.read(5.0)
        if isinstance(item, CameraState) and item.condition is CameraCondition.END_OF_STREAM:
            return items, item
        if isinstance(item, Frame) or item.condition is CameraCondition.UNREADABLE:
            items.append(item)


def frames_of(items: list[Frame | CameraState]) -> list[Frame]:
    """Leave only what could be read."""
    return [item for item in items if isinstance(item, Frame)]


def first_frame(camera: Camera, within_s: float = 240.0) -> Frame:
    """Wait for a live camera's next frame."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        item = camera.read(0.5)
        if isinstance(item, Frame):
            return item
    pytest.fail(f"no frame within {within_s} s; the camera says {item}")


def state_with(camera: Camera, condition: CameraCondition, within_s: float = 240.0) -> CameraState:
    """Wait until a camera says that it is in a condition."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        item = camera.read(0.2)
        if isinstance(item, CameraState) and item.condition is condition:
            return item
    pytest.fail(f"the camera was not {condition.value} within {within_s} s; it says {item}")


@contextmanager
def rtsp_server(*arguments: str, server: str = "rtsp_server.py") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start GStreamer's RTSP server; yields it and the port that it prints once it listens."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name(server)), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the RTSP server did not start; it needs gir1.2-gst-rtsp-server-1.0 and python3-gi"
            yield process, port
        finally:
            process.kill()


@contextmanager
def fake_genicam(serial: str = "LW1", *, lost_per_thousand: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Start Aravis's own fake GigE Vision camera on 127.0.0.1; only one can be there, as the protocol has one port."""
    command = ["arv-fake-gv-camera-0.8", "-i", "127.0.0.1", "-s", serial, "-r", str(lost_per_thousand)]
    deadline = time.monotonic() + 60
    while True:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                if _is_listening(process, deadline):
                    yield process
                    return
            finally:
                process.kill()
        if time.monotonic() > deadline:
            pytest.fail("the fake GenICam camera did not start; it needs Debian's aravis-tools, and 127.0.0.1:3956")


def _is_listening(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait until a process has the port of GigE Vision; False where it ended, for another has it."""
    while process.poll() is None and time.monotonic() < deadline:
        inodes = {entry.split(":[")[1].rstrip("]") for entry in _sockets(process.pid)}
        rows = [row.split() for row in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]]
        if any(row[9] in inodes and row[1].endswith(":0F74") for row in rows):
            return True
        time.sleep(0.02)
    return False


def _sockets(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if (target := str(entry.readlink())).startswith("socket:["):
                yield target


@contextmanager
def deep_genicam(folder: Path, serial: str = "DEEP") -> Iterator[None]:
    """Start the fake GigE Vision camera of genicam_camera.py, whose levels have 12 bits."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name("genicam_camera.py")), serial, str(folder / "f.xml")]
    deadline = time.monotonic() + 60
    while True:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                if process.stdout.readline().strip() == "listens":
                    yield
                    return
            finally:
                process.kill()
        if time.monotonic() > deadline:
            pytest.fail("the fake GenICam camera did not start; it needs gir1.2-aravis-0.8, and 127.0.0.1:3956")
