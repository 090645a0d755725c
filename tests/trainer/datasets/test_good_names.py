"""Classes of defects whose names sound good."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.good_names import words_on_good_names


def test_each_class_that_sounds_good_gets_its_remedy() -> None:
    """Each once, in order, with the command that mends it; a defect's own name gets none."""
    words = words_on_good_names(["scratch", "normal", "gut", "not_good", "gut"], Path("my parts"))
    assert [one.split()[2] for one in words] == ["gut", "normal"]
    assert "linewatch-train import manifest 'my parts' --rename gut=ok --out NEW" in words[0]
