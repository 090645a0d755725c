"""Clips and servers that the cameras' tests share. Not a test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Read to the end; what could not be read stands in its place."""
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


def first_frame(camera: Camera, within_s: float = 20.0) -> Frame:
    """Wait for a live camera's next frame."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        item = camera.read(0.5)
        if isinstance(item, Frame):
            return item
    pytest.fail(f"no frame within {within_s} s; the camera says {item}")


def state_with(camera: Camera, condition: CameraCondition, within_s: float = 30.0) -> CameraState:
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
