"""config/cameras.jetson.yaml: pipelines for NVIDIA's elements, as far as they can be tried without a Jetson."""

from __future__ import annotations

import re

import pytest

from edge.cameras.capture import CapturedCamera
from edge.cameras.gstreamer import pipeline_trouble
from edge.cameras.opencv import OpenCvSource
from edge.redacting import redacted
from edge.settings import load_settings
from tests.conftest import ROOT
from tests.edge.cameras.clips import first_frame

CAMERAS = load_settings(ROOT / "config" / "cameras.jetson.yaml").station_cameras
PIPELINES = {name: str(camera.source) for name, camera in CAMERAS.items() if camera.resolved_kind() == "gstreamer"}
# NVIDIA's elements, and what stands in for them here. A word with = is a property of the element before it.
STANDS_IN = {
    r"nvarguscamerasrc( [\w-]+=(\"[^\"]*\"|\S+))*": "videotestsrc is-live=true",
    r"\(memory:NVMM\)": "",
    r"nvv4l2decoder mjpeg=1": "jpegdec",
    r"nvv4l2decoder": "decodebin",
    r"nvvidconv": "videoconvert",
}


def stand_in(pipeline: str) -> str:
    """Return a pipeline with other elements in place of NVIDIA's."""
    for theirs, ours in STANDS_IN.items():
        pipeline = re.sub(theirs, ours, pipeline)
    return pipeline


def test_there_is_one_for_each_way_to_a_jetson() -> None:
    """CSI, USB and network; each ends in the BGR of an appsink that keeps the newest, and fixes its size."""
    assert list(PIPELINES) == ["csi", "usb", "rtsp"]
    for name, pipeline in PIPELINES.items():
        end = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
        assert pipeline.endswith(end), name
        assert CAMERAS[name].size_px == (1920, 1080)
    assert "secret" not in redacted(PIPELINES["rtsp"])


@pytest.mark.parametrize("name", PIPELINES)
def test_nothing_but_nvidias_elements_is_missing_here(name: str) -> None:
    """GStreamer's own parser takes all the rest: elements, properties and formats."""
    assert pipeline_trouble(stand_in(PIPELINES[name])) == ""
    told = pipeline_trouble(PIPELINES[name])
    assert not told or re.search(r"no element nv\w+", told), told


@pytest.mark.gstreamer
@pytest.mark.parametrize("name", ["csi", "usb"])
def test_it_gives_frames_with_other_elements_in_their_place(name: str) -> None:
    """1920 x 1080 px BGR come through the rest of the pipeline."""
    pipeline = stand_in(PIPELINES[name]).replace("v4l2src device=/dev/video0", "videotestsrc is-live=true ! jpegenc")
    with CapturedCamera("c", lambda: OpenCvSource("gstreamer", pipeline), live=True) as camera:
        assert first_frame(camera, 60).pixels.shape == (1080, 1920, 3)
