"""The fastest engine that sees the golden frames alike is chosen once, and remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import make_engine
from edge.engines.autotune import Candidate, cache_file, choose, machine_key
from edge.engines.cascade import CascadeEngine
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import DependencyError, EngineError, SettingsError
from edge.protocols import Engine
from edge.records import GraphContract
from edge.settings import EngineSettings, load_settings
from edge.simulation.engine import SimulatedEngine
from tests.bright_bundle import add_golden, write_bright_bundle

CONTRACT = GraphContract(16, 16, 1, 1, 1, ("scratch",), 4)
THRESHOLDS = np.array([0.5], np.float32)
FAST, SLOW = Candidate("onnxruntime", "fp32"), Candidate("openvino", "fp32")
Openers = Mapping[Candidate, Callable[[], Engine]]


def at(tiles_per_s: float) -> Callable[[], Engine]:
    """Return what opens a simulated engine of a set speed."""
    return lambda: SimulatedEngine(CONTRACT, lambda *_: np.zeros((16, 16), np.uint8), tiles_per_s)


def never() -> Engine:
    """Fail the test: nothing was to be measured."""
    raise AssertionError("measured again")


def accepted(_engine: Engine) -> str:
    """Take part."""
    return ""


OPENERS: Openers = {SLOW: at(100), FAST: at(800)}


def test_the_faster_one_is_chosen_and_remembered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """800 tiles/s win against 100; the second start measures nothing; the log says what was chosen and why."""
    caplog.set_level(logging.INFO)
    cache = tmp_path / "deep" / "engines.json"
    choice = choose(OPENERS, "key", accepted, THRESHOLDS, cache)
    assert (choice.candidate, choice.remembered) == (FAST, False)
    assert choice.tiles_per_s[str(FAST)] > 2 * choice.tiles_per_s[str(SLOW)]
    again = choose(dict.fromkeys(OPENERS, never), "key", accepted, THRESHOLDS, cache)
    assert (again.candidate, again.remembered, again.tiles_per_s) == (FAST, True, choice.tiles_per_s)
    first, second = (record.getMessage() for record in caplog.records)
    for candidate, speed in choice.tiles_per_s.items():  # as measured: the slow one sleeps, and reaches 99.9 or 100
        assert f"{candidate}" in first
        assert f"{speed:.3g}" in first
    assert first.startswith("engine onnxruntime fp32: ")
    assert first.endswith("measured now")
    assert second.endswith("measured before on this machine")
    assert [path.name for path in cache.parent.iterdir()] == ["engines.json"]


def test_another_machine_or_model_is_measured_anew(tmp_path: Path) -> None:
    """A choice counts for its own key; the key depends on the model and on what is asked."""
    cache = tmp_path / "engines.json"
    choose(OPENERS, machine_key("a", batch=4), accepted, THRESHOLDS, cache)
    keys = {machine_key("a", batch=4), machine_key("b", batch=4), machine_key("a", batch=8)}
    assert len(keys) == 3
    with pytest.raises(AssertionError, match="measured again"):
        choose(dict.fromkeys(OPENERS, never), machine_key("b", batch=4), accepted, THRESHOLDS, cache)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": "linewatch/engines/2"}',
        '{"schema": "linewatch/engines/2", "choices": {"key": 3}}',
        '{"schema": "linewatch/engines/2", "choices": {"key": {"candidate": ["gone", "fp32"], "tiles_per_s": {}}}}',
        '{"schema": "linewatch/engines/2", "choices": {"key": {"candidate": "x", "tiles_per_s": 1, "refused": {}}}}',
    ],
)
def test_a_damaged_cache_is_measured_over(tmp_path: Path, text: str) -> None:
    """The line starts, whatever stands in the cache, and the cache is whole afterwards."""
    cache = tmp_path / "engines.json"
    cache.write_text(text)
    assert not choose(OPENERS, "key", accepted, THRESHOLDS, cache).remembered
    assert json.loads(cache.read_text())["choices"]["key"]["candidate"] == list(FAST)


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file where the cache's folder should be costs a warning, not the start."""
    (tmp_path / "file").write_text("")
    choice = choose(OPENERS, "key", accepted, THRESHOLDS, tmp_path / "file" / "engines.json")
    assert choice.candidate == FAST
    assert "measures again" in caplog.text


def test_speed_never_wins_over_the_golden_frames(tmp_path: Path) -> None:
    """The faster engine is refused where it sees a golden frame otherwise, and one that cannot be opened is named."""

    def missing() -> Engine:
        raise DependencyError("not installed")

    openers = {**OPENERS, Candidate("tensorrt", "fp16"): missing}
    speeds = {100.0: "", 800.0: "it sees a.png otherwise"}

    def accept(engine: Engine) -> str:
        assert isinstance(engine, SimulatedEngine)
        return speeds[engine._tiles_per_s]

    choice = choose(openers, "key", accept, THRESHOLDS, tmp_path / "c.json")
    assert choice.candidate == SLOW
    assert choice.refused == {str(FAST): "it sees a.png otherwise", "tensorrt fp16": "not installed"}
    with pytest.raises(EngineError, match="No engine sees the golden frames"):
        choose({FAST: at(0)}, "other", lambda _: "no", THRESHOLDS, tmp_path / "c.json")
    with pytest.raises(DependencyError, match="not installed"):
        choose({FAST: missing}, "third", accepted, THRESHOLDS, tmp_path / "c.json")


def test_auto_opens_a_real_engine_and_remembers_it(tmp_path: Path) -> None:
    """With `backend: auto` a bundle runs on what was faster here, and the cache says which."""
    bundle = add_golden(write_bright_bundle(tmp_path / "bundle"))
    engine = make_engine(EngineSettings(backend="auto"), bundle)
    kinds = {
        ("onnxruntime", "fp32"): OnnxRuntimeEngine,
        ("openvino", "fp32"): OpenVinoEngine,
        ("openvino", "bf16"): CascadeEngine,
    }
    stored: dict[str, Any] = json.loads(cache_file().read_text())["choices"]
    assert type(engine) in {kinds[tuple(entry["candidate"])] for entry in stored.values()}
    assert type(make_engine(EngineSettings(backend="auto"), bundle)) is type(engine)


def test_a_precision_that_is_not_there_is_a_settings_error(tmp_path: Path) -> None:
    """int8 without its graph names the command that makes it; a precision of another backend names those it has."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    with pytest.raises(
        SettingsError,
        match=r"holds no model\.int8\.onnx, which is chosen and judged on onnx.*; run convert",
    ):
        make_engine(EngineSettings(precision="int8"), bundle)
    line = tmp_path / "line.yaml"
    line.write_text("engine: {backend: onnxruntime, precision: bf16}")
    with pytest.raises(SettingsError, match="expected precision auto, fp32, int8 for onnxruntime; got bf16"):
        load_settings(line)
