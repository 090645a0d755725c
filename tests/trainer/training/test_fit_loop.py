"""The training loop with networks small enough to follow: stages, cells, sequences, full batches, logs, bad input."""

from __future__ import annotations

import contextlib
import io
import resource
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from rich.console import Console

from edge.errors import DatasetError, StoreError
from edge.records import UInt8
from tests.trainer.painted import write_painted
from trainer.bundling.bundle import in_pixels
from trainer.datasets.dataset import Entry, Picture, class_names, load_picture, read_manifest
from trainer.datasets.memory import check_fits, check_memory, estimate_bytes
from trainer.losses import make_loss
from trainer.models import Stage
from trainer.recipe.settings import TrainSettings
from trainer.training import checkpointing
from trainer.training.batches import Batches
from trainer.training.checkpointing import CHECKPOINT, LOG
from trainer.training.hardware import available_bytes
from trainer.training.starting import find_start
from trainer.training.stepping import Stepper
from trainer.training.training_loop import CollapsedTrainingError, InterruptedTrainingError, TrainingLoop
from trainer.training.validating import Validation, constant_dice

NAMES = ("scratch",)


@dataclass(frozen=True)
class TinyModel:
    """The loop's demands on a recipe's model, for networks of the tests' own."""

    stride: int = 1
    frames: int = 1
    has_background: bool = False
    family: str = "tiny"

    def stride_px(self, tile_px: int) -> int:
        """Tell the stride."""
        return min(self.stride, tile_px)


def recipe(model: TinyModel | None = None, **keys: Any) -> TrainSettings:
    """Make a recipe of crops of 16 px."""
    sampling = {"crop_px": 32, "batch": 4, "steps_per_epoch": 3}
    plain = {"name": "tiny", "sampling": sampling, "epochs": 4, "optimizer": {"learning_rate": 0.05}}
    settings = TrainSettings.model_validate(plain | keys)
    return settings.model_copy(update={"model": model or TinyModel()})


def pictures(count: int = 4, size: tuple[int, int] = (64, 64), *, group: str | None = None) -> list[Picture]:
    """Draw dark pictures with a bright square of class 1 each."""
    drawn = []
    for i in range(count):
        generator = np.random.default_rng(i)
        pixels: UInt8 = generator.integers(20, 40, (*size, 1)).astype(np.uint8)
        truth = np.zeros(size, np.uint8)
        y, x = generator.integers(0, 40, 2)
        truth[y : y + 20, x : x + 20] = 1
        pixels[truth > 0] = 200
        drawn.append(Picture(Entry(f"{i}.png", Path(f"{i}.png"), (), group or f"{i}"), pixels, truth))
    return drawn


def two_layers(stride: int = 1) -> Any:
    """Return a network of two named layers and a batch normalisation.

    It maps [N, S, S, 1] → [N, S / stride, S / stride, 1].
    """
    keras.utils.set_random_seed(0)
    tiles = keras.Input((None, None, 1))
    x = keras.layers.Rescaling(1 / 255)(tiles)
    x = keras.layers.Conv2D(4, 3, padding="same", strides=stride, name="body", activation="relu")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.1, seed=3)(x)
    return keras.Model(tiles, keras.layers.Conv2D(1, 1, name="head")(x))


def make_loop(
    settings: TrainSettings,
    net: Any,
    folder: Path,
    shown: list[Picture],
    *,
    stages: Sequence[Stage] = (),
    goes_on: bool = False,
    terminal: bool = False,
) -> tuple[TrainingLoop, Stepper, io.StringIO]:
    """Put a loop together as `fit` does."""
    folder.mkdir(exist_ok=True)
    words = io.StringIO()
    stepper = Stepper(settings, net, make_loss(settings.loss, settings.model, NAMES), tf.distribute.get_strategy())
    loop = TrainingLoop(
        settings,
        stepper,
        batches=Batches(settings, NAMES, shown),
        validation=Validation(settings, NAMES, shown),
        stages=stages,
        folder=folder,
        console=Console(file=words, width=300, soft_wrap=True, force_terminal=terminal),
        goes_on=goes_on,
    )
    return loop, stepper, words


def test_the_bar_counts_steps_and_shows_no_figure_that_is_not_known(tmp_path: Path) -> None:
    """12 steps are 12 on the bar; before the first validation its Dice is not known, and never -1."""
    loop, _, words = make_loop(recipe(), two_layers(), tmp_path / "run", pictures(), terminal=True)
    loop.train(resume=False)
    shown = words.getvalue()
    assert "/12" in shown
    assert "/1000" not in shown
    assert "-1.000" not in shown


def head_only(net: Any) -> None:
    """Train the last layer alone."""
    for layer in net.layers:
        layer.trainable = layer.name == "head"


def everything(net: Any) -> None:
    """Train all layers."""
    for layer in net.layers:
        layer.trainable = True


STAGES = (Stage(0.0, head_only), Stage(0.5, everything))


def test_stages_unfreeze_at_their_share_and_resume(tmp_path: Path) -> None:
    """The body stands still in the first half and learns in the second. Stopped in between, it goes on to the bit."""
    settings = recipe(logs={"tensorboard": True})
    body: list[Any] = []

    def noting(net: Any) -> None:
        body.append(net.get_layer("body").get_weights()[0])
        everything(net)

    noted = (Stage(0.5, noting), Stage(0.0, head_only))
    whole, stepper, words = make_loop(settings, two_layers(), tmp_path / "whole", pictures(), stages=noted)
    before = stepper.net.get_layer("body").get_weights()[0]
    whole.train(resume=False)
    assert whole.run.stage == 2
    assert whole.run.stage_steps == 6
    np.testing.assert_array_equal(body[0], before)
    assert np.abs(stepper.net.get_layer("body").get_weights()[0] - before).max() > 1e-3
    assert "stage 1 of 2: 5 parameters are trained" in words.getvalue()  # 4 weights and a bias
    assert int(stepper.optimizer.iterations.numpy()) == 6  # a new optimizer since the second stage

    for stop in (1, 3):  # in the first stage, and in the second
        folder = tmp_path / f"stopped{stop}"
        first, own, _ = make_loop(settings, two_layers(), folder, pictures(), stages=STAGES)
        _stop_after(own, stop * 3 + 1)
        with pytest.raises(InterruptedTrainingError, match=f"Interrupted in epoch {stop + 1}.*--resume"):
            first.train(resume=False)
        second, again, words = make_loop(settings, two_layers(), folder, pictures(), stages=STAGES)
        second.train(resume=True)
        assert f"resumed after epoch {stop}" in words.getvalue()
        for one, other in zip(stepper.net.variables, again.net.variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        for one, other in zip(whole.best_weights, second.best_weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_last_part_knows_what_came_before_it(tmp_path: Path) -> None:
    """Interrupted in its first epoch, it says that the part before is kept. A run of one part, that nothing is."""
    settings = recipe(epochs=1)
    loop, stepper, _ = make_loop(settings, two_layers(), tmp_path / "training", pictures(), goes_on=True)
    _stop_after(stepper, 2)
    with pytest.raises(InterruptedTrainingError, match=r"Interrupted in epoch 1\. Nothing is kept"):
        loop.train(resume=False)
    loop, stepper, _ = make_loop(settings, two_layers(), tmp_path / "training", pictures(), goes_on=True)
    loop.train(resume=False)
    (tmp_path / "training" / "finish").mkdir()
    last = loop.going_on(settings, Batches(settings, NAMES, pictures()), tmp_path / "training" / "finish")
    _stop_after(stepper, 2)
    kept = r"Interrupted in epoch 1\. The part before it is kept; go on with --resume"
    with pytest.raises(InterruptedTrainingError, match=kept):
        last.train(resume=False)


def test_a_last_part_keeps_its_last_epoch(tmp_path: Path) -> None:
    """The last part chooses no epoch: its checkpoint holds the last weights, however much worse they are."""
    settings = recipe(epochs=6)
    loop, stepper, _ = make_loop(settings, two_layers(), tmp_path / "training", pictures(), goes_on=True)
    loop.train(resume=False)
    (folder := tmp_path / "training" / "finish").mkdir()
    worse = recipe(epochs=3, optimizer={"kind": "sgd", "learning_rate": 1e-9})
    last = loop.going_on(worse, Batches(worse, NAMES, pictures()), folder)
    spoilt, taken = stepper.step, iter(range(1000))

    def step(*batch: Any, **keys: Any) -> Any:
        if next(taken) == 6:  # the third epoch's first
            stepper.net.set_weights([0 * value for value in stepper.net.get_weights()])
            stepper.averages = stepper.net.get_weights()
        return spoilt(*batch, **keys)

    stepper.step = step
    last.train(resume=False)
    dices = [row["dice"] for row in last.run.rows]
    assert max(dices) - dices[-1] > 0.05
    assert last.run.best_epoch == 3
    for kept, value in zip(checkpointing.read_best(folder / "checkpoint.npz"), last.last_weights, strict=True):
        np.testing.assert_array_equal(kept, value)


def test_a_last_part_that_is_stopped_names_its_own_weights(tmp_path: Path) -> None:
    """The folder that its error says to begin from is where the weights lie that it speaks of."""
    tiles = keras.Input((None, None, 1))
    nothing = keras.initializers.Constant(-20)
    silent = keras.Model(tiles, keras.layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer=nothing)(tiles))
    guard = {"collapse_epochs": 3, "action": "stop"}
    settings = recipe(epochs=5, guard=guard, optimizer={"learning_rate": 1e-6})
    first, _, _ = make_loop(settings.model_copy(update={"epochs": 1}), silent, tmp_path / "training", pictures())
    first.train(resume=False)
    (folder := tmp_path / "training" / "finish").mkdir()
    last = first.going_on(settings, Batches(settings, NAMES, pictures()), folder)
    with pytest.raises(CollapsedTrainingError) as stopped:
        last.train(resume=False)
    assert str(stopped.value).endswith(f"--from {folder}")
    assert find_start(folder).path == folder / "checkpoint.npz"


def _stop_after(stepper: Stepper, steps: int) -> None:
    """Let Ctrl-C come while the loop waits for step number `steps`."""
    plain, taken = stepper.step, iter(range(1, 1000))

    def step(*batch: Any, **keys: Any) -> Any:
        if next(taken) == steps:
            raise KeyboardInterrupt
        return plain(*batch, **keys)

    stepper.step = step  # the signal comes from outside, at no step in particular


def test_a_network_of_cells_learns_from_reduced_truth(tmp_path: Path) -> None:
    """With a stride of 8 the truth has 4 x 4 cells per crop of 32 px. Training reaches a Dice above 0.8."""
    quick = {"learning_rate": 0.5, "warm_up_steps": 0}
    settings = recipe(TinyModel(stride=8), epochs=12, cells={"min_share": 0.5}, optimizer=quick)
    tiles = keras.Input((None, None, 1))
    x = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(tiles))
    net = keras.Model(tiles, keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(x))
    loop, _, words = make_loop(settings, net, tmp_path, pictures())
    with Batches(settings, NAMES, pictures()).epoch(0) as batches:
        batch = next(batches)
    assert (batch.pixels.shape, batch.truth.shape) == ((4, 32, 32, 1), (4, 4, 4))
    loop.train(resume=False)
    assert loop.run.best_dice > 0.8, words.getvalue()


def test_a_network_of_sequences_learns(tmp_path: Path) -> None:
    """[B, T, S, S, C] go in, from single pictures and from a recording; the last frame is what is learned."""
    for sequence in ({}, {"recording": True}):
        quick = {"learning_rate": 0.5, "warm_up_steps": 0}
        settings = recipe(TinyModel(frames=3), epochs=8, sequence=sequence, optimizer=quick)
        tiles = keras.Input((3, 32, 32, 1))
        logits = keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(tiles[:, 2] / 255)
        folder = tmp_path / str(bool(sequence))
        loop, _, _ = make_loop(settings, keras.Model(tiles, logits), folder, pictures(6, group="film"))
        loop.train(resume=False)
        assert loop.run.best_dice > 0.8


def test_of_epochs_that_are_as_good_the_last_is_kept(tmp_path: Path) -> None:
    """With steps of 1e-9 all four epochs have one Dice: the last is kept. Stopped early the first is, and a better is.

    The better one is noted in the checkpoint as epoch 2 with 0.02 more than the last. That is twice the margin of as
    good.
    """
    still = {"learning_rate": 1e-9}
    loop, _, _ = make_loop(recipe(optimizer=still), two_layers(), tmp_path / "end", pictures())
    loop.train(resume=False)
    assert (loop.run.best_epoch, loop.run.epoch) == (4, 4)
    for best, last in zip(loop.best_weights, loop.last_weights, strict=True):
        np.testing.assert_array_equal(best, last)

    early, _, words = make_loop(
        recipe(optimizer=still, early_stopping_epochs=2), two_layers(), tmp_path / "early", pictures()
    )
    early.train(resume=False)
    assert (early.run.best_epoch, early.run.epoch) == (1, 3), words.getvalue()

    again, stepper, _ = make_loop(recipe(optimizer=still), two_layers(), tmp_path / "end", pictures())
    better = [weight + 1 for weight in loop.best_weights]
    loop.run.best_epoch, loop.run.best_dice = 2, float(loop.run.rows[-1]["dice"] or 0) + 0.02
    checkpointing.save(tmp_path / "end", loop.run, stepper, better)
    again.train(resume=True)
    assert again.run.best_epoch == 2
    for best, value in zip(again.best_weights, better, strict=True):
        np.testing.assert_array_equal(best, value)


def test_another_part_goes_on_from_the_last_epoch(tmp_path: Path) -> None:
    """Another part begins at the last epoch, however much better an earlier one was.

    After an early stop it does not, for the last one never settled.
    """
    still = {"learning_rate": 1e-9}
    loop, stepper, _ = make_loop(recipe(optimizer=still), two_layers(), tmp_path / "end", pictures())
    loop.train(resume=False)
    last = loop.last_weights
    loop.run.best_epoch, loop.run.best_dice = 2, 0.99
    checkpointing.save(tmp_path / "end", loop.run, stepper, [weight + 1 for weight in last])
    again, _, _ = make_loop(recipe(optimizer=still), two_layers(), tmp_path / "end", pictures(), goes_on=True)
    again.train(resume=True)
    assert again.run.best_epoch == 4
    for best, value in zip(again.best_weights, last, strict=True):
        np.testing.assert_array_equal(best, value)

    early, _, words = make_loop(
        recipe(optimizer=still, early_stopping_epochs=2), two_layers(), tmp_path / "early", pictures(), goes_on=True
    )
    early.train(resume=False)
    assert (early.run.best_epoch, early.run.epoch) == (1, 3), words.getvalue()


def test_a_full_batch_is_everything_once() -> None:
    """A step's batches hold each pixel of each picture once, undisturbed, and their shares add up to 1."""
    settings = recipe(optimizer={"kind": "sgd", "full_batch": True}, sampling={"crop_px": 32, "batch": 5})
    shown = pictures(3)
    with Batches(settings, NAMES, shown).epoch(0) as batches:
        step = []
        for batch in batches:
            step.append(batch)
            if batch.ends_step:
                break
    crops = np.concatenate([batch.pixels for batch in step])
    assert [len(batch.pixels) for batch in step] == [5, 5, 2]
    assert sum(batch.share for batch in step) == pytest.approx(1)
    expected = [p.pixels[y : y + 32, x : x + 32] for p in shown for y in (0, 32) for x in (0, 32)]
    np.testing.assert_array_equal(crops, np.stack(expected))
    assert step[0].shows == ("0.png", "1.png")


def test_a_full_batch_follows_the_slope_of_everything(tmp_path: Path) -> None:
    """One step of SGD on binary cross-entropy from p = 1/2: the bias falls by rate x mean(1/2 - t) over all pixels."""
    settings = recipe(
        optimizer={"kind": "sgd", "full_batch": True, "learning_rate": 0.5, "warm_up_steps": 0},
        sampling={"crop_px": 32, "batch": 5, "steps_per_epoch": 1},
        loss={"terms": [{"kind": "cross_entropy"}]},
        epochs=1,
    )
    tiles = keras.Input((None, None, 1))
    net = keras.Model(tiles, keras.layers.Conv2D(1, 1, kernel_initializer="zeros", trainable=True)(tiles / 255))
    shown = pictures(3)
    loop, _, _ = make_loop(settings, net, tmp_path, shown)
    loop.train(resume=False)
    truth = np.stack([p.truth for p in shown]).astype(float)
    pixels = np.stack([p.pixels[..., 0] for p in shown]) / 255
    kernel, bias = (weights.item() for weights in net.get_weights())
    assert bias == pytest.approx(-0.5 * np.mean(0.5 - truth), rel=1e-4)
    assert kernel == pytest.approx(-0.5 * np.mean((0.5 - truth) * pixels), rel=1e-4)


def test_batches_tell_which_pictures_they_show() -> None:
    """Pictures of one grey level each: the levels in a batch are those of the pictures that it names."""
    shown = [
        Picture(
            Entry(f"{i}", Path(f"{i}"), (), f"{i}"), np.full((40, 40, 1), i, np.uint8), np.zeros((40, 40), np.uint8)
        )
        for i in range(50)
    ]
    plain = {"contrast": 1, "brightness": 0, "noise": 0}
    with Batches(recipe(augmentation=plain), NAMES, shown).epoch(3) as batches:
        for batch in batches:
            assert {str(round(float(crop.mean()))) for crop in batch.pixels} == set(batch.shows)


def test_what_fails_while_drawing_is_raised_where_batches_are_taken() -> None:
    """Drawing from no picture at all is an error in the loop, not a thread that dies unheard."""
    with Batches(recipe(), NAMES, []).epoch(0) as batches, pytest.raises(ValueError, match="high <= 0"):
        next(batches)


def test_what_is_no_number_names_the_pictures_and_keeps_the_weights(tmp_path: Path) -> None:
    """At the step where it happens: its number, its pictures, the last good weights; the checkpoint stays.

    Good are weights whose loss and slope were numbers: the average before the step that led here.
    """
    settings = recipe()
    loop, stepper, _ = make_loop(settings, two_layers(), tmp_path, pictures())
    plain, taken, seen = stepper.step, iter(range(1, 100)), []

    def step(pixels: Any, truth: Any, rate: float, **keys: Any) -> Any:
        number = next(taken)
        if number == 4:
            seen.extend(stepper.averages)
        if number == 5:  # the second step of the second epoch; the weights of the fourth made nothing finite
            pixels = np.full_like(pixels, np.nan)
        return plain(pixels, truth, rate, **keys)

    stepper.step = step  # a picture cannot hold NaN, but a derived value may
    with pytest.raises(
        DatasetError, match=r"is (nan|no finite number) at step 5 \(epoch 2\), in a batch with \d\.png"
    ) as caught:
        loop.train(resume=False)
    assert str(tmp_path / CHECKPOINT) in str(caught.value)
    assert f"linewatch-train fit RECIPE --data DATA --out NEW --from {tmp_path / checkpointing.LAST_GOOD}" in str(
        caught.value
    )
    other = two_layers()
    other.load_weights(tmp_path / checkpointing.LAST_GOOD)
    for one, kept in zip(seen, other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, kept)
    assert checkpointing.read_run(tmp_path).epoch == 1


def test_weights_that_were_thrown_too_far_are_not_the_last_good_ones(tmp_path: Path) -> None:
    """The first step of a wild rate ends at weights whose slope is no number: kept are those before it, which work."""
    wild = {"kind": "sgd", "learning_rate": 1.0, "clip_norm": 1e30, "warm_up_steps": 0}
    terms = {"terms": [{"kind": "cross_entropy", "weight": 1e12}]}
    keras.utils.set_random_seed(0)
    tiles = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(tiles / 255)
    net = keras.Model(tiles, keras.layers.Conv2D(1, 1)(keras.layers.Conv2D(4, 3, padding="same")(x)))
    before = net.get_weights()
    loop, stepper, _ = make_loop(recipe(loss=terms, optimizer=wild), net, tmp_path, pictures())
    with pytest.raises(DatasetError, match="at step 2 "):
        loop.train(resume=False)
    net.load_weights(tmp_path / checkpointing.LAST_GOOD)
    for first, kept in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(first, kept)
    assert np.isfinite(stepper.loss(stepper.answer(np.zeros((1, 32, 32, 1), np.float32)), np.zeros((1, 32, 32))))


def test_an_average_that_is_no_number_is_not_kept_as_good(tmp_path: Path) -> None:
    """The best epoch's weights are the last good ones if the moving average took in what is no number."""
    loop, stepper, _ = make_loop(recipe(epochs=1), two_layers(), tmp_path, pictures())
    loop.train(resume=False)
    stepper.averages = [np.full_like(value, np.nan) for value in stepper.averages]
    kept = checkpointing.save_last_good(tmp_path, stepper, loop.best_weights)
    assert kept is not None
    other = two_layers()
    other.load_weights(kept)
    for best, value in zip(loop.best_weights, other.get_weights(), strict=True):
        np.testing.assert_array_equal(best, value)


def test_what_a_constant_answer_scores_is_known() -> None:
    """Three of four tiles are scratched: a classifier that always says so has a Dice of 2 * 3/4 / (1 + 3/4).

    With the other quarter of another class the mean over both is half of that. Of a segmenter, answering nothing is 0.
    """
    truths = np.array([1, 1, 1, 0], np.uint8).reshape(4, 1, 1)
    assert constant_dice(truths, 1) == pytest.approx(1.5 / 1.75)
    assert constant_dice(np.where(truths, truths, 2).astype(np.uint8), 3) == pytest.approx(1.5 / 1.75 / 2)
    assert constant_dice(np.zeros_like(truths), 2) == 0
    for stride, expected in ((1, 0.0), (32, 1.0)):
        shown = [Picture(p.entry, p.pixels, np.ones_like(p.truth)) for p in pictures(2)]
        judge = Validation(recipe(TinyModel(stride=stride)), NAMES, shown)
        cells = 32 // stride
        judged = judge.judge(lambda x, c=cells: np.ones((len(x), c, c, 1), np.float32), lambda *_: 0.0)
        assert judged.baseline == expected


def test_each_epoch_is_in_the_log_and_in_tensorboards_events(tmp_path: Path) -> None:
    """log.csv has a row per epoch; the event file has the same figures as scalars, at the number of steps."""
    loop, _, words = make_loop(recipe(epochs=2, logs={"tensorboard": True}), two_layers(), tmp_path, pictures())
    loop.train(resume=False)
    lines = (tmp_path / LOG).read_text().splitlines()
    assert lines[0] == (
        "epoch,steps,seconds,steps_per_second,learning_rate,loss,validation_loss,dice,baseline_dice,"
        "dice_scratch,answered_scratch,true_scratch"
    )
    assert [line.split(",")[:2] for line in lines[1:]] == [["1", "3"], ["2", "6"]]
    assert f"the log is {tmp_path / LOG}" in words.getvalue()
    found = {}
    for path in (tmp_path / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    for row in loop.run.rows:
        for name in ("loss", "validation_loss", "dice", "learning_rate"):
            assert found[name, row["steps"]] == pytest.approx(row[name], rel=1e-6)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let the system refuse to write beyond 1,000 bytes of a file, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    """A checkpoint that cannot be written is told, half a file is removed, and the epoch before is still there."""
    loop, stepper, _ = make_loop(recipe(epochs=1), two_layers(), tmp_path, pictures())
    loop.train(resume=False)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with full_disk(), pytest.raises(StoreError, match=r"checkpoint of epoch 1 cannot be written .* --resume"):
        checkpointing.save(tmp_path, loop.run, stepper, loop.best_weights)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, LOG}


def test_a_folder_without_room_is_refused_before_training(tmp_path: Path) -> None:
    """The bytes of two checkpoints must be free; a folder that cannot be written is told as well."""
    _, stepper, _ = make_loop(recipe(), two_layers(), tmp_path, pictures())
    parameters = sum(value.size for value in stepper.net.get_weights())
    # variables, averages, best weights; the moments of what is trainable
    assert checkpointing.room_needed(stepper) >= 2 * 4 * 3 * parameters
    checkpointing.check_room(tmp_path, checkpointing.room_needed(stepper))
    with pytest.raises(StoreError, match="MB left; checkpoints of this model need 1000000000000 MB"):
        checkpointing.check_room(tmp_path, 10**18)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        checkpointing.check_writable(tmp_path / "file" / "training")
    checkpointing.check_writable(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_broken_checkpoint_is_told(tmp_path: Path) -> None:
    """Cut short, it ends in a message and not in a traceback."""
    loop, _, _ = make_loop(recipe(epochs=1), two_layers(), tmp_path / "a", pictures())
    loop.train(resume=False)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    content = (tmp_path / "b" / CHECKPOINT).read_bytes()
    (tmp_path / "b" / CHECKPOINT).write_bytes(content[: len(content) // 2])
    again, _, _ = make_loop(recipe(epochs=1), two_layers(), tmp_path / "b", pictures())
    with pytest.raises(StoreError, match="cannot be read"):
        again.train(resume=True)


def test_memory_is_estimated_from_some_pictures(tmp_path: Path) -> None:
    """96 x 128 pixels of one channel and as many of truth, and 8 bytes per defect pixel. Six of twelve are read."""
    entries = read_manifest(write_painted(tmp_path / "data", 12))
    names = class_names(entries)
    settings = TrainSettings.model_validate({"name": "x", "preparing": [{"step": "grey"}]})
    taken = [load_picture(entry, names, settings.preparing, 1) for entry in entries]
    real = sum(p.pixels.nbytes + p.truth.nbytes + 8 * int((p.truth > 0).sum()) for p in taken)
    assert taken[0].pixels.nbytes + taken[0].truth.nbytes == 2 * 96 * 128
    assert estimate_bytes(entries, names, settings) == pytest.approx(real, rel=0.2)
    check_memory(entries, names, settings, 10**12)
    check_memory(entries, names, settings, None)  # a system that does not tell
    with pytest.raises(DatasetError, match="12 pictures take about"):
        check_memory(entries, names, settings, 1000)
    with pytest.raises(DatasetError, match=r"12 pictures take about 9\.0 GB .* 10\.0 GB are left, of which 80%"):
        check_fits(12, 9 * 10**9, 10 * 10**9)


def test_available_memory_is_what_the_system_tells() -> None:
    """It is no more than another library reads, give or take what changed in between."""
    free = available_bytes()
    assert free is not None
    assert 0 < free < psutil.virtual_memory().available * 1.2


def test_memory_is_what_the_container_leaves_and_elsewhere_unknown(tmp_path: Path) -> None:
    """Of 3,000 kB the system has 2,000. Of a limit of 900,000 bytes 500,000 are taken, 100,000 of them page cache.

    A system without these files is not asked, and nothing fails.
    """
    absent = tmp_path / "absent"
    assert available_bytes(absent, absent) is None
    meminfo, group = tmp_path / "meminfo", tmp_path / "group"
    meminfo.write_text("MemTotal: 3000 kB\nMemAvailable: 2000 kB\n")
    assert available_bytes(meminfo, absent) == 2000 * 1024
    group.mkdir()
    for name, text in (("max", "900000"), ("current", "500000"), ("stat", "anon 1\ninactive_file 100000\n")):
        (group / f"memory.{name}").write_text(text)
    assert available_bytes(meminfo, group) == 900_000 - 500_000 + 100_000
    assert available_bytes(absent, group) == 500_000


def test_cells_are_repeated_to_their_pixels() -> None:
    """A map of 2 x 3 cells of 4 px for a picture of 7 x 10 px: the last cells are cut."""
    cells = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    whole = in_pixels(cells, 4, (7, 10))
    assert whole.shape == (7, 10, 1)
    assert [int(whole[y, x, 0]) for y, x in ((0, 0), (3, 3), (3, 4), (4, 0), (6, 9))] == [0, 0, 1, 3, 5]


def test_a_class_that_validation_does_not_show_is_not_measured(tmp_path: Path) -> None:
    """Clean pictures: no Dice of the class, in the log an empty field; the loss and the shares are numbers."""
    clean = [Picture(p.entry, p.pixels, np.zeros_like(p.truth)) for p in pictures()]
    loop, _, _ = make_loop(recipe(epochs=1, logs={"tensorboard": True}), two_layers(), tmp_path, clean)
    loop.train(resume=False)
    (row,) = loop.run.rows
    assert row["dice_scratch"] is None
    assert row["true_scratch"] == 0
    header, line = ((tmp_path / LOG).read_text().splitlines()[place].split(",") for place in (0, 1))
    assert line[header.index("dice_scratch")] == ""


def test_a_class_that_goes_unanswered_is_told_once_or_ends_the_training(tmp_path: Path) -> None:
    """A net that answers nothing: after three epochs one warning; a guard that may stop ends it there, named."""
    for action, epochs in (("warn", 5), ("stop", 3)):
        tiles = keras.Input((None, None, 1))
        nothing = keras.initializers.Constant(-20)
        answer = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer=nothing)(tiles)
        silent = keras.Model(tiles, answer)
        guard = {"collapse_epochs": 3, "action": action}
        settings = recipe(epochs=5, guard=guard, optimizer={"learning_rate": 1e-6})
        loop, _, words = make_loop(settings, silent, tmp_path / action, pictures())
        if action == "warn":
            loop.train(resume=False)
        else:
            with pytest.raises(CollapsedTrainingError, match=r"Stopped after epoch 3.*scratch"):
                loop.train(resume=False)
        assert loop.run.epoch == epochs
        assert words.getvalue().count("warning: ") == 1
