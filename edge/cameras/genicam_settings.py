"""The settings of a GenICam camera, set by Aravis and read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.cameras.device_settings import SOFTWARE, DeviceSettings
from edge.printable import printable

_FRAME_START = "FrameStart"


@dataclass(frozen=True)
class _Wish:
    """One value: how it is set, how it is read back, and by how much the two may differ."""

    name: str
    asked: float | str | tuple[int, ...]
    give: Callable[[], object]
    read: Callable[[], float | str | tuple[int, ...]]
    tolerance: float = 0.0


def apply_to(settings: DeviceSettings, camera: Any, aravis: Any, refused: type[Exception]) -> list[str]:
    """Set a camera that does not run. Read everything back afterwards, and say what it did not take.

    `refused`: what Aravis raises.
    """
    wishes = _wishes(settings, camera, aravis)
    refusals = [_refusal(wish, refused) for wish in wishes]
    told = [refusal or _difference(wish, refused) for wish, refusal in zip(wishes, refusals, strict=True)]
    return [
        f"camera.device.{wish.name}: asked for {_shown(wish.asked)}, {how}"
        for wish, how in zip(wishes, told, strict=True)
        if how
    ]


def _refusal(wish: _Wish, refused: type[Exception]) -> str:
    try:
        wish.give()
    except refused as error:
        return f"the camera refuses it: {_words(error)}"
    return ""


def _difference(wish: _Wish, refused: type[Exception]) -> str:
    try:
        got = wish.read()
    except refused as error:
        return f"it cannot be read back: {_words(error)}"
    return "" if _alike(wish.asked, got, wish.tolerance) else f"the camera has {_shown(got)}"


def _wishes(settings: DeviceSettings, camera: Any, aravis: Any) -> list[_Wish]:
    """Return what is to be set, in the order that cameras need: size and format first, the trigger last."""
    return [
        *_format(settings, camera),
        *_automatic(settings, camera, aravis),
        *_values(settings, camera),
        *_trigger(settings, camera),
    ]


def _format(settings: DeviceSettings, camera: Any) -> list[_Wish]:
    wishes = []
    if settings.pixel_format is not None:
        name = settings.pixel_format
        wishes.append(
            _Wish(
                "pixel_format",
                name,
                lambda: camera.set_pixel_format_from_string(name),
                camera.get_pixel_format_as_string,
            )
        )
    if settings.roi_px is not None:
        roi = settings.roi_px
        wishes.append(_Wish("roi_px", tuple(roi), lambda: camera.set_region(*roi), lambda: _region(camera)))
    elif (size := settings.size_px) is not None:
        wishes.append(
            _Wish("width, height", size, lambda: camera.set_region(-1, -1, *size), lambda: _region(camera)[2:])
        )
    return wishes


def _region(camera: Any) -> tuple[int, ...]:
    region = camera.get_region()
    if hasattr(region, "width"):
        return region.x, region.y, region.width, region.height
    return tuple(region[-4:])


def _automatic(settings: DeviceSettings, camera: Any, aravis: Any) -> list[_Wish]:
    """Return what the camera is to hold by itself, or no longer."""
    on, off = aravis.Auto.CONTINUOUS, aravis.Auto.OFF
    wishes = []
    if settings.exposure_us is not None and (settings.exposure_us == "auto" or camera.is_exposure_auto_available()):
        wanted = on if settings.exposure_us == "auto" else off
        wishes.append(_auto("exposure_us", wanted, on, camera.set_exposure_time_auto, camera.get_exposure_time_auto))
    gains = settings.gain_db is not None or settings.gain is not None
    if gains and (settings.gain_db == "auto" or camera.is_gain_auto_available()):
        name = "gain" if settings.gain is not None else "gain_db"
        wanted = on if settings.gain_db == "auto" else off
        wishes.append(_auto(name, wanted, on, camera.set_gain_auto, camera.get_gain_auto))
    if settings.white_balance_k == "auto":
        wishes.append(
            _Wish(
                "white_balance_k",
                "auto",
                lambda: camera.set_string("BalanceWhiteAuto", "Continuous"),
                lambda: "auto" if camera.get_string("BalanceWhiteAuto") == "Continuous" else "manual",
            )
        )
    return wishes


def _auto(name: str, wanted: Any, on: Any, give: Callable[[Any], object], read: Callable[[], Any]) -> _Wish:
    asked = "auto" if wanted == on else "manual"
    return _Wish(name, asked, lambda: give(wanted), lambda: "auto" if read() == on else "manual")


def _values(settings: DeviceSettings, camera: Any) -> list[_Wish]:
    wishes = []
    if settings.fps is not None and settings.trigger is None:
        fps = settings.fps
        wishes.append(_Wish("fps", fps, lambda: camera.set_frame_rate(fps), camera.get_frame_rate, 0.01 * fps))
    if isinstance(settings.exposure_us, int):
        us = settings.exposure_us
        wishes.append(
            _Wish(
                "exposure_us", us, lambda: camera.set_exposure_time(us), camera.get_exposure_time, max(1.0, 0.005 * us)
            )
        )
    if settings.gain is not None:
        gain = settings.gain
        wishes.append(_Wish("gain", gain, lambda: camera.set_gain(gain), camera.get_gain, 0.5))
    if isinstance(settings.gain_db, float | int):
        decibels = float(settings.gain_db)
        wishes.append(
            _Wish("gain_db", decibels, lambda: _set_decibels(camera, decibels), lambda: _decibels(camera), 0.1)
        )
    return wishes


def _set_decibels(camera: Any, decibels: float) -> None:
    if camera.is_feature_available("Gain"):  # without it nothing is set: the camera counts in steps of its own
        camera.set_float("Gain", decibels)


def _decibels(camera: Any) -> float | str:
    if not camera.is_feature_available("Gain"):
        return "no gain in dB: set gain, in its own steps"
    unit = camera.get_device().get_feature("Gain").get_unit() or "dB"
    gain = float(camera.get_float("Gain"))
    return gain if unit.lower() == "db" else f"a gain in {printable(unit)}: {gain:g}"


def _trigger(settings: DeviceSettings, camera: Any) -> list[_Wish]:
    if settings.trigger is None:
        return []
    source = "Software" if settings.trigger == SOFTWARE else settings.trigger
    wanted = settings.trigger

    def read() -> str:
        camera.set_string("TriggerSelector", _FRAME_START)
        if camera.get_string("TriggerMode") != "On":
            return "no trigger"
        got = str(camera.get_trigger_source())
        return SOFTWARE if got == "Software" else got

    return [_Wish("trigger", wanted, lambda: camera.set_trigger(source), read)]


def trigger_is_on(camera: Any, refused: type[Exception]) -> bool:
    """Tell whether a camera waits for a trigger, by its own word."""
    try:
        camera.set_string("TriggerSelector", _FRAME_START)
        return bool(camera.get_string("TriggerMode") == "On")
    except refused:
        return False


def _alike(asked: float | str | tuple[int, ...], got: float | str | tuple[int, ...], tolerance: float) -> bool:
    if isinstance(asked, float | int) and isinstance(got, float | int):
        return abs(asked - got) <= tolerance
    return asked == got


def _shown(value: float | str | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return " x ".join(map(str, value)) if len(value) == 2 else ", ".join(map(str, value))
    return printable(value) if isinstance(value, str) else f"{value:g}"


def _words(error: Exception) -> str:
    return printable(getattr(error, "message", None) or str(error))[:200]
