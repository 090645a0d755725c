"""A short simulated clip, replayed with the shipped model, against what it came to when the model was made.

`make golden` writes tests/edge/golden/simulated_clip.json anew. Do so only when the model, the rendering or the
measuring was meant to change, and look at what differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.cli.demo import BUNDLE
from edge.simulation.camera import write_video
from edge.simulation.rendering import SimulatedLineSettings
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "edge" / "golden" / "simulated_clip.json"
FRAMES = 40


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Render the clip, replay it with the real command, and keep what a golden file holds."""
    folder = tmp_path_factory.mktemp("golden")
    write_video(folder / "clip.mp4", SimulatedLineSettings(seed=5, defective_share=1), FRAMES)
    (folder / "line.yaml").write_text("line: {line: golden}\n")
    arguments = ["--bundle", BUNDLE, "--config", folder / "line.yaml", "--events", folder / "events.jsonl"]
    command = [sys.executable, "-m", "edge", "replay", folder / "clip.mp4", *arguments]
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT, capture_output=True)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    kept = [
        {
            "frame": event["frame"],
            "verdict": event["verdict"],
            "coverage": round(event["coverage"], 6),
            "counts": {name: seen["count"] for name, seen in event["classes"].items()},
            "bbox": event["defects"][0]["bbox"] if event["defects"] else None,
        }
        for event in events
    ]
    if os.environ.get("LINEWATCH_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        Path(GOLDEN).write_text("[\n" + ",\n".join(json.dumps(row) for row in kept) + "\n]\n")
    return kept


def test_the_replay_is_what_it_was(replayed: list[dict[str, Any]]) -> None:
    """Verdicts, counts, coverage and the largest defect's box are as recorded.

    Other processors and video codecs round otherwise. Two frames of forty may tip over a threshold. Coverage may differ
    by 3 % or 20 pixels, boxes by 3 px.
    """
    golden = json.loads(GOLDEN.read_text())
    assert [row["frame"] for row in replayed] == list(range(FRAMES))
    assert {row["verdict"] for row in golden} == {"OK", "NG"}  # the recording shows both
    tipped = 0
    for now, then in zip(replayed, golden, strict=True):
        if (now["verdict"], now["counts"]) != (then["verdict"], then["counts"]):
            tipped += 1
            continue
        assert now["coverage"] == pytest.approx(then["coverage"], rel=0.03, abs=20 / (640 * 480)), now
        if then["bbox"]:
            assert now["bbox"] == pytest.approx(then["bbox"], abs=3), now
    assert tipped <= 2
