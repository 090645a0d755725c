from pathlib import Path

import pytest
from scipy.stats import beta

from trainer.datasets.dataset import Entry
from trainer.evaluation.exact_interval import largest_share
from trainer.evaluation.sample_size import pieces_for, what_can_be_shown
from trainer.training.eta import forecast


def entry(image: str, group: str, *classes: str) -> Entry:
    """Return a picture that shows these classes."""
    return Entry(image, Path(image), (), group, frozenset(classes))


@pytest.mark.parametrize("pieces", [1, 8, 60, 500])
def test_no_miss_among_few_pieces_leaves_much_possible(pieces: int) -> None:
    """The share that remains possible is the upper end of the exact 95 % interval, as SciPy's beta quantile has it."""
    assert largest_share(pieces) == pytest.approx(beta.ppf(0.975, 1, pieces))


def test_how_many_pieces_a_line_needs() -> None:
    """0.95^71 = 0.0262 is above 0.025 and 0.95^72 = 0.0249 below: 72 pieces show less than one in twenty."""
    assert pieces_for(0.05) == 72
    assert largest_share(72) < 0.05 < largest_share(71)


def test_pieces_are_counted_not_pictures() -> None:
    """Three pictures of one piece prove as much as one. A class or clean parts that nobody held out are named."""
    entries = [
        *(entry(f"{n}.png", "a", "scratch") for n in range(3)),
        entry("b.png", "b", "scratch"),
        entry("c.png", "c", "stain"),
        entry("d.png", "d"),
    ]
    parts = {one.image: "test" for one in entries} | {"c.png": "train", "d.png": "validation"}
    told = what_can_be_shown(entries, parts, ["scratch", "stain"])
    # 1 - 0.025^(1/2) = 0.842
    assert told[0] == (
        "scratch: 2 pieces held out. With none missed, 84% could still be missed on the line (95 %); "
        "to show less than 5% takes 72 pieces without one"
    )
    assert told[1] == "stain: not held out at all, so nothing is known of what is missed"
    assert told[2] == "clean: no clean piece is held out, so nothing is known of false alarms on good parts"


def test_a_forecast_waits_for_steps_that_say_something() -> None:
    """The first two steps, which compile, are left out. The median of the next six counts, and the limit is told."""
    ends_s = [20.0, 21.0, 21.5, 22.0, 22.5, 30.0, 30.5, 31.0]  # half seconds, and one step that was held up
    assert forecast(ends_s[:-1], 600, None) is None
    assert forecast(ends_s, 600, None) == "a step takes 0.5 s here: 600 steps take about 5 minutes, validation apart"
    told = forecast(ends_s, 600, 2)
    assert told is not None
    # 600 x 0.5 s = 5 minutes; 2 of 5 are 40 %
    assert "max_minutes cuts it after 2 minutes, with about 40% of them, before the learning rate has fallen" in told
    assert forecast([*ends_s, 31.5], 600, 2) is None
