"""A GenICam camera (GigE Vision, USB3 Vision) as a source of live pictures, by Aravis.

Each picture has a number. So pictures that never came are counted, and one of which packets were lost is not believed:
Aravis would leave old pixels in the gaps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from edge.cameras.capture import Shot
from edge.cameras.device_settings import SOFTWARE, DeviceSettings
from edge.cameras.genicam_devices import choose, find_devices, is_address, load_aravis, vendor_error
from edge.cameras.genicam_settings import apply_to, trigger_is_on
from edge.cameras.pixel_formats import as_picture
from edge.cameras.stream_clock import StreamClock
from edge.errors import SourceError
from edge.pictures import NotReadableError
from edge.printable import printable
from edge.records import UInt8
from edge.wording import counted

_STEP_US = 100_000
PATIENCE_S = 3.0
_BUFFERS = 8
_LATE_AT_MOST_S = 3.0
# GigE Vision 1 numbers pictures from 1 to this, and then anew.
_NUMBERS = 0xFFFF
# A camera that skips more has begun to count anew.
_GAP_AT_MOST = 10_000


class GenicamSource:
    """One camera. `wanted`: its serial number, IP address, or Aravis's name of it; `device`: what it is set to.

    `max_age_ms`: an older picture is thrown away, 0 = none is; `clock`: whether the camera's own clock is compared with
    ours. `every`: each picture is given; without it, of those that wait only the newest. It is opened once.
    """

    total = 0

    def __init__(
        self,
        wanted: str,
        *,
        device: DeviceSettings | None = None,
        max_age_ms: int = 0,
        clock: bool = True,
        depth_bits: int | None = None,
        every: bool = False,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.shown = f"GenICam {printable(wanted)}"
        self.differences: tuple[str, ...] = ()
        self._wanted = wanted
        self._device = device or DeviceSettings()
        self._max_age_ms = max_age_ms
        self._compare = clock
        self._depth_bits = depth_bits
        self._every = every
        self._monotonic_ns = monotonic_ns
        self._clock = StreamClock()
        self._gone = threading.Event()
        self._camera: Any = None
        self._stream: Any = None
        self._last_number: int | None = None
        self._since_ns = 0
        self._fire_ns = 0
        self._late_since_ns: int | None = None
        self._patience_s = PATIENCE_S

    def open(self) -> None:
        """Find it, take control of it, set it and let it run. Raises SourceError, DependencyError."""
        aravis = load_aravis()
        self._aravis, self._error = aravis, vendor_error()
        try:
            self._camera = camera = aravis.Camera.new(self._name())
            if camera.is_gv_device() and not camera.get_device().is_controller():  # another reads along at most
                raise SourceError(
                    "another program controls it, or another camera of this station: end the other one, or take one of "
                    "the two out of the settings"
                )
            camera.get_device().connect("control-lost", self._lost)
            with suppress(self._error):
                camera.stop_acquisition()
            self.differences = tuple(apply_to(self._device, camera, aravis, self._error))
            self._stream = stream = camera.create_stream(None, None)
            if stream is None:
                raise SourceError("it gives no stream: another program may use it")
            payload = camera.get_payload()
            for _ in range(_BUFFERS):
                stream.push_buffer(aravis.Buffer.new_allocate(payload))
            camera.set_acquisition_mode(aravis.AcquisitionMode.CONTINUOUS)
            camera.start_acquisition()
            self._patience_s = self._longest_wait_s()
        except self._error as error:
            raise SourceError(f"it cannot be opened: {_words(error)}") from None
        self._since_ns = self._fire_ns = self._monotonic_ns()

    def _name(self) -> str:
        found = find_devices()
        if is_address(self._wanted) and not any(self._wanted in device.known_as for device in found):
            return self._wanted  # in another network no search reaches it
        return choose(self._wanted, found).name if not is_address(self._wanted) else self._wanted

    def _longest_wait_s(self) -> float:
        with suppress(self._error):
            fps = self._device.fps or (self._camera.get_frame_rate() if self._camera.is_frame_rate_available() else 0)
            return max(PATIENCE_S, 3 / fps) if fps > 0 else PATIENCE_S
        return PATIENCE_S

    def _lost(self, *_: object) -> None:
        """Note that the camera does not answer any more; called in a thread of Aravis."""
        self._gone.set()

    def take(self) -> Sequence[Shot] | None:
        """Wait a moment for the next picture, and return what came: often nothing. Raises SourceError."""
        if self._gone.is_set():
            raise SourceError("it does not answer any more: check its cable and its power")
        self._fire_if_due()
        buffer = self._stream.timeout_pop_buffer(self._step_us())
        now_ns = self._monotonic_ns()
        if buffer is None:
            self._check_silence(now_ns)
            return []
        self._since_ns = now_ns
        return self._shots([buffer, *self._waiting()], now_ns)

    def close(self) -> None:
        """Let go of it."""
        camera, self._camera, self._stream = self._camera, None, None
        if camera is not None and not self._gone.is_set():
            with suppress(self._error):
                camera.stop_acquisition()

    def _waiting(self) -> list[Any]:
        found: list[Any] = []
        while len(found) < _BUFFERS and (buffer := self._stream.try_pop_buffer()) is not None:
            found.append(buffer)
        return found

    def _step_us(self) -> int:
        if self._device.trigger != SOFTWARE:
            return _STEP_US
        return max(1_000, min(_STEP_US, (self._fire_ns - self._monotonic_ns()) // 1000))

    def _fire_if_due(self) -> None:
        now_ns = self._monotonic_ns()
        if self._device.trigger != SOFTWARE or now_ns < self._fire_ns:
            return
        interval_ns = round(1e9 / (self._device.fps or 1.0))
        self._fire_ns = max(self._fire_ns + interval_ns, now_ns)
        try:
            self._camera.software_trigger()
        except self._error as error:
            raise SourceError(f"it cannot be triggered: {_words(error)}") from None

    def _check_silence(self, now_ns: int) -> None:
        silent_s = (now_ns - self._since_ns) / 1e9
        if self._device.waits_for_a_line or silent_s < self._patience_s:
            return
        told = f"it gave no picture for {silent_s:.0f} s"
        if self._device.trigger is None and trigger_is_on(self._camera, self._error):
            told += ", and waits for a trigger: set device.trigger, or switch its trigger off"
        raise SourceError(told)

    def _shots(self, buffers: Sequence[Any], now_ns: int) -> list[Shot]:
        """Return what buffers hold, and give them back; where only the newest is wanted the whole others are lost."""
        shots: list[Shot] = []
        lost = missed = 0
        for buffer in buffers:
            before = self._missed_before(buffer.get_frame_id())
            lost, missed = lost + before, missed + before
            captured_ns = self._captured_ns(buffer, now_ns)
            trouble = self._trouble(buffer) or self._too_late((now_ns - captured_ns) / 1e6, now_ns)
            if trouble or self._every or buffer is buffers[-1]:
                shots.append(self._shot(buffer, captured_ns, trouble, lost, missed))
                lost = missed = 0
            else:
                lost += 1
            self._stream.push_buffer(buffer)
        return shots

    def _shot(self, buffer: Any, captured_ns: int, trouble: str, lost: int, missed: int) -> Shot:
        if trouble:
            return Shot(None, captured_ns, trouble, lost, missed)
        try:
            return Shot(self._pixels(buffer), captured_ns, "", lost, missed)
        except NotReadableError as error:
            return Shot(None, captured_ns, f"the picture cannot be read: {error}", lost, missed)

    def _pixels(self, buffer: Any) -> UInt8:
        padding, _ = buffer.get_image_padding() if hasattr(buffer, "get_image_padding") else (0, 0)
        if padding:
            raise NotReadableError(f"its rows end with {counted(padding, 'byte')} of padding: set another width")
        data = buffer.get_image_data() if hasattr(buffer, "get_image_data") else buffer.get_data()
        size_px = (buffer.get_image_width(), buffer.get_image_height())
        return as_picture(data, buffer.get_image_pixel_format() & 0xFFFFFFFF, size_px, self._depth_bits)

    def _trouble(self, buffer: Any) -> str:
        status = buffer.get_status()
        if status == self._aravis.BufferStatus.SUCCESS:
            return ""
        name = str(getattr(status, "value_nick", status)).replace("-", " ")
        return f"the picture is incomplete ({name}): packets of it were lost on the network or the bus"

    def _missed_before(self, number: int) -> int:
        """Return how many pictures the camera numbered between the last one and this one."""
        last, self._last_number = self._last_number, number
        if last is None or not number:  # without numbers all of them are 0
            return 0
        gap = number - last - 1
        if gap < 0 and last <= _NUMBERS:
            gap += _NUMBERS
        return gap if 0 <= gap <= _GAP_AT_MOST else 0

    def _captured_ns(self, buffer: Any, now_ns: int) -> int:
        media_ns = buffer.get_timestamp()
        if not self._compare or not media_ns:
            return now_ns
        self._clock.arrived(media_ns, now_ns)
        return self._clock.captured_ns(media_ns, now_ns)

    def _too_late(self, late_ms: float, now_ns: int) -> str:
        """Say how late a picture is. Raises SourceError where pictures that are not looked at do not catch up."""
        if not self._max_age_ms or late_ms <= self._max_age_ms:
            self._late_since_ns = None
            return ""
        told = f"the picture is {late_ms:.0f} ms old by the camera's own clock, at most {self._max_age_ms} ms allowed"
        self._late_since_ns = self._late_since_ns or now_ns
        if now_ns - self._late_since_ns > _LATE_AT_MOST_S * 1e9:
            raise SourceError(f"{told}; it is opened anew")
        return f"{told}; it was thrown away"


def _words(error: Exception) -> str:
    return printable(getattr(error, "message", None) or str(error))[:200]
