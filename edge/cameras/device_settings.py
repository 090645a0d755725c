"""The settings of a USB or GenICam camera: size, rate, format, exposure, gain, white balance, trigger.

`genicam_settings.py` gives them to a GenICam camera, `apply` to a USB camera; both read back what it then has. The
properties are OpenCV's, as its V4L2 backend gives them to the driver. `VideoDevice` is the seam. OpenCV's VideoCapture
keeps it, and so does `edge/simulation/usb_device.py`, which stands in for a camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from edge.opencv import cv2
from edge.yaml_settings import StrictModel

Property = tuple[str, int, float, float]
# V4L2_EXPOSURE_MANUAL and V4L2_EXPOSURE_APERTURE_PRIORITY of linux/v4l2-controls.h
MANUAL, AUTOMATIC = 1, 3
_StartPx = Annotated[int, Field(ge=0, le=65535)]
_LengthPx = Annotated[int, Field(ge=16, le=16384)]
# V4L2_CID_EXPOSURE_ABSOLUTE counts in 100 µs.
EXPOSURE_UNIT_US = 100


class VideoDevice(Protocol):
    """The part of OpenCV's VideoCapture that a live device needs."""

    def isOpened(self) -> bool: ...  # noqa: N802, D102 - OpenCV's own names
    def set(self, prop: int, value: float) -> bool: ...  # noqa: D102
    def get(self, prop: int) -> float: ...  # noqa: D102
    def grab(self) -> bool: ...  # noqa: D102
    def retrieve(self) -> tuple[bool, Any]: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


# The settings that each kind of camera has.
OF_USB = ("width", "height", "fps", "fourcc", "exposure_us", "gain", "white_balance_k")
OF_GENICAM = (
    "width",
    "height",
    "roi_px",
    "fps",
    "pixel_format",
    "exposure_us",
    "gain",
    "gain_db",
    "white_balance_k",
    "trigger",
)
SOFTWARE = "software"


class DeviceSettings(StrictModel):
    """The values that a camera is set to; a value that is left out stays as the camera has it.

    `width`, `height`: px. `roi_px`: x, y, width and height of the part of the sensor that is read. `fps`: frames/s.
    `fourcc`: the format on a USB camera's wire, such as MJPG or YUYV; `pixel_format`: a GenICam camera's, such as
    Mono12. `exposure_us`: time in µs, or auto. `gain`: in the driver's or camera's own units; `gain_db`: of a GenICam
    camera, in dB, or auto. `white_balance_k`: colour temperature in K, or auto. `trigger`: the input of a
    GenICam camera that triggers each frame, such as Line0, or `software`: Linewatch triggers it, `fps` times a second.
    """

    width: Annotated[int, Field(ge=16, le=16384)] | None = None
    height: Annotated[int, Field(ge=16, le=16384)] | None = None
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    fourcc: Annotated[str, Field(pattern=r"^[A-Za-z0-9 ]{4}$")] | None = None
    exposure_us: Annotated[int, Field(ge=1, le=10_000_000)] | Literal["auto"] | None = None
    gain: Annotated[float, Field(ge=0, le=100_000)] | None = None
    white_balance_k: Annotated[int, Field(ge=1000, le=20_000)] | Literal["auto"] | None = None
    gain_db: Annotated[float, Field(ge=-100, le=200)] | Literal["auto"] | None = None
    roi_px: tuple[_StartPx, _StartPx, _LengthPx, _LengthPx] | None = None
    pixel_format: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{1,31}$")] | None = None
    trigger: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{1,31}$")] | None = None

    @model_validator(mode="after")
    def _values_go_together(self) -> DeviceSettings:
        if self.gain is not None and self.gain_db is not None:
            raise ValueError("expected gain_db, or gain in the camera's own steps; received both")
        if self.trigger == SOFTWARE and self.fps is None:
            raise ValueError("expected fps beside trigger: software, how often a second it is triggered; received none")
        return self

    @property
    def given(self) -> tuple[str, ...]:
        """The names of what is set."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def waits_for_a_line(self) -> bool:
        """Tell whether frames come only when an input of the camera triggers them."""
        return self.trigger is not None and self.trigger != SOFTWARE

    @model_validator(mode="after")
    def _size_is_whole(self) -> DeviceSettings:
        if self.roi_px is not None and self.width is not None:
            raise ValueError("expected width and height, or roi_px, which holds both; received both")
        if (self.width is None) != (self.height is None):
            raise ValueError("expected width and height together, received one of them")
        return self

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height in px, if they are set."""
        if self.roi_px is not None:
            return self.roi_px[2], self.roi_px[3]
        return None if self.width is None or self.height is None else (self.width, self.height)

    def properties(self) -> Iterator[Property]:
        """Yield name, OpenCV's number, value and tolerance of what is to be set, in the order that drivers need."""
        if self.fourcc is not None:
            yield "fourcc", cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter_fourcc(*self.fourcc)), 0.0
        if self.width is not None and self.height is not None:
            yield "width", cv2.CAP_PROP_FRAME_WIDTH, float(self.width), 0.0
            yield "height", cv2.CAP_PROP_FRAME_HEIGHT, float(self.height), 0.0
        if self.fps is not None:
            yield "fps", cv2.CAP_PROP_FPS, self.fps, 0.01 * self.fps
        if self.exposure_us == "auto":
            yield "exposure_us", cv2.CAP_PROP_AUTO_EXPOSURE, AUTOMATIC, 0.0
        elif self.exposure_us is not None:
            yield "exposure_us", cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL, 0.0
            yield "exposure_us", cv2.CAP_PROP_EXPOSURE, max(1, round(self.exposure_us / EXPOSURE_UNIT_US)), 0.5
        if self.gain is not None:
            yield "gain", cv2.CAP_PROP_GAIN, self.gain, 0.5
        if self.white_balance_k == "auto":
            yield "white_balance_k", cv2.CAP_PROP_AUTO_WB, 1.0, 0.0
        elif self.white_balance_k is not None:
            yield "white_balance_k", cv2.CAP_PROP_AUTO_WB, 0.0, 0.0
            yield "white_balance_k", cv2.CAP_PROP_WB_TEMPERATURE, float(self.white_balance_k), 0.5


def apply(settings: DeviceSettings, device: VideoDevice) -> list[str]:
    """Set a device, read everything back when all is set, and say what it did not take."""
    asked = list(settings.properties())
    for _, number, value, _ in asked:
        device.set(number, value)
    return [
        f"camera.device.{name}: asked for {_shown(number, value)}, the camera has {_shown(number, got)}"
        for name, number, value, tolerance in asked
        if abs((got := device.get(number)) - value) > tolerance
    ]


def _shown(number: int, value: float) -> str:
    if number == cv2.CAP_PROP_FOURCC:
        code = int(value)
        text = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)) if code > 0 else ""
        return text if text.isprintable() and text else "no such setting"
    if number == cv2.CAP_PROP_EXPOSURE:
        return f"{value * EXPOSURE_UNIT_US:g}"
    if number == cv2.CAP_PROP_AUTO_EXPOSURE:
        return {MANUAL: "manual", AUTOMATIC: "auto"}.get(int(value), "no such setting")
    if number == cv2.CAP_PROP_AUTO_WB:
        return {0: "manual", 1: "auto"}.get(int(value), "no such setting")
    return f"{value:g}" if value >= 0 else "no such setting"
