"""The head of drawn defects: what was trained is what the graph answers, and it may say no more than its bound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from trainer.anomaly.drawn_head import DrawnHead, DrawnTiles
from trainer.anomaly.memory import Memory, Whitening
from trainer.recipe.good_parts_settings import DrawnSettings, GoodPartsRecipe

SIDE = 96
STEPS = DrawnSettings(tiles=100, rounds=1, weight=0.5)


def recipe(**changed: Any) -> GoodPartsRecipe:
    """Give a recipe of tiles of 96 px with a head."""
    return GoodPartsRecipe.model_validate(
        {
            "learn": "good-parts",
            "name": "drawn",
            "channels": 1,
            "tile": {"height": SIDE, "width": SIDE, "overlap_px": 0},
            "stages": [6, 7],
            "cell_px": 32,
            "components": 16,
            "drawn": STEPS.model_dump(),
        }
        | changed
    )


def tiles_of(seed: int, marked: bool = True) -> DrawnTiles:
    """Give 24 tiles of 12 pictures, every second one marked in one cell, whose near features are larger there."""
    rng = np.random.default_rng(seed)
    near, deep = rng.normal(0, 0.3, (24, 6, 6, 8)), rng.normal(0, 0.3, (24, 3, 3, 4))
    marks = np.zeros((24, 6, 6), np.float32)
    for number in range(0, 24, 2):
        row, column = rng.integers(0, 6, 2)
        marks[number, row, column] = marked
        near[number, row, column, 0] += 3 * marked
    axes = tuple(rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((20, 5), (6, 3), (7, 2), (9, 2)))
    means = tuple(np.zeros(len(one), np.float32) for one in axes)
    return DrawnTiles(near.astype(np.float16), deep.astype(np.float16), marks, np.arange(24) // 2, axes, means)


def counted(count: int, _words: str) -> Iterable[int]:
    """Count steps without a bar."""
    return range(count)


def told_of(tiles: DrawnTiles, seed: int = 0) -> Any:
    """Learn of the first eight pictures, judge the others."""
    from trainer.anomaly.drawn_learning import learn_drawn

    return learn_drawn(tiles, range(8), range(8, 12), settings=STEPS, seed=seed, steps=counted, words="")


def test_what_was_drawn_into_is_told_from_what_was_not() -> None:
    """Tiles of pictures that taught nothing are ranked without an error; the same seed gives the same head."""
    tiles = tiles_of(1)
    told = told_of(tiles)
    own = tiles.of(range(8, 12))
    assert told.tops[tiles.defective[own]].min() > told.tops[~tiles.defective[own]].max()
    again = told_of(tiles)
    assert all(np.array_equal(a, b) for a, b in zip(told.head.taps, again.head.taps, strict=True))
    assert np.array_equal(told.tops, again.tops)


def test_what_is_ignored_teaches_nothing() -> None:
    """Cells marked -1 have no part in the loss: their truth may be any."""
    from trainer.anomaly.drawn_learning import _loss

    logit = np.random.default_rng(0).normal(0, 2, (2, 6, 6)).astype(np.float32)
    marked = np.zeros((2, 6, 6), np.float32)
    marked[0, 1, 1], marked[:, 4, 4] = 1, -1
    other = logit.copy()
    other[:, 4, 4] = (9, -9)
    assert float(_loss(logit, marked)) == pytest.approx(float(_loss(other, marked)), abs=1e-6)
    other[:, 3, 3] = 9
    assert float(_loss(other, marked)) > float(_loss(logit, marked))


def answers(head: DrawnHead | None, settings: GoodPartsRecipe, tile: np.ndarray) -> Any:
    """Return the ratio (d / t)^2 x what is said at each cell of the answer, float32 [h, w], and the model."""
    import keras

    from trainer.anomaly.learning import Learned
    from trainer.anomaly.network import encoder, scorer

    encoded = encoder(settings)
    rng = np.random.default_rng(4)
    features = encoded.outputs[0].shape[-1]
    axes = rng.normal(0, 0.2, (features, 16)).astype(np.float32)
    memory = rng.normal(0, 1, (8, 16)).astype(np.float32)
    learned = Learned(
        Whitening(np.zeros(features, np.float32), axes), Memory(memory, np.ones(8, np.float32)), drawn=head
    )
    model = scorer(encoded, settings, learned, 5.0)
    p = np.asarray(keras.Model(model.input, model.get_layer("to_full_size").input)(tile))[0, :, :, 0]
    return p / (1 - p), model


def test_the_graph_says_what_was_trained() -> None:
    """The kernels that whitening and weight were folded into answer the trained network's logit times the weight."""
    import keras

    from trainer.anomaly.drawn_learning import _Features, _head, _network
    from trainer.anomaly.network import encoder, learned_by

    settings = recipe()
    tiles = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 1)).astype(np.uint8)
    features = _Features(encoder(settings))
    for tile in tiles:
        features.add(tile, np.zeros((SIDE, SIDE), np.uint8))
    kept = features.kept(np.arange(4))
    net = _network(kept.near.shape[-1], kept.deep.shape[-1])
    expected = 0.5 * net([kept.near.astype(np.float32), kept.deep.astype(np.float32)], training=False).numpy()
    head = _head(net, kept, 0.5)
    _, model = answers(head, settings, tiles[:1].astype(np.float32))
    said = np.asarray(keras.Model(model.input, model.get_layer("drawn_layer_3").output)(tiles.astype(np.float32)))
    assert said.shape == (4, 6, 6, 1)
    assert np.allclose(said, expected, atol=2e-3)
    back = learned_by(model).drawn
    assert back is not None
    assert all(np.array_equal(a, b) for a, b in zip(back.taps, head.taps, strict=True))
    assert np.array_equal(back.bias, head.bias)
    assert all(
        np.array_equal(a, b) for own in zip(back.layers, head.layers, strict=True) for a, b in zip(*own, strict=True)
    )


@pytest.mark.parametrize(("stages", "cell_px"), [((6, 7), 32), ((5,), 16), ((3, 4), 8)])
def test_it_multiplies_the_squared_distance_by_at_most_four(stages: tuple[int, ...], cell_px: int) -> None:
    """The ratio with a head lies within a quarter and four times the one without, in cells of any width."""
    from trainer.anomaly.drawn_learning import untaught

    tile = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 1)).astype(np.float32)
    settings = recipe(stages=stages, cell_px=cell_px)
    head = untaught((40, 112, 192, 320), 0)
    none = DrawnHead(head.taps, head.bias, (*head.layers[:-1], (0 * head.layers[-1][0], head.layers[-1][1])))
    plain, _ = answers(none, settings, tile)
    found = []
    for shift in (-50, 0, 50):
        loud = DrawnHead(head.taps, head.bias, (*head.layers[:-1], (head.layers[-1][0], np.array([shift], np.float32))))
        ratio, _ = answers(loud, settings, tile)
        found.append((ratio / plain).ravel())
    assert found[0] == pytest.approx(0.25, rel=1e-3)
    assert found[2] == pytest.approx(4, rel=1e-3)
    assert found[1].min() >= 0.2499
    assert found[1].max() <= 4.001
    assert plain.shape == (SIDE // min(16, cell_px),) * 2
