"""Several devices: two logical CPUs stand for two GPUs, which no test machine can be asked to have."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from edge.errors import SettingsError
from tests.conftest import ROOT
from trainer.recipe.settings import TrainSettings
from trainer.training.hardware import make_strategy

# one and the same network takes the same four batches on one device and on two. Printed is how far they are apart
SCRIPT = """
import json, sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from trainer.fitting import _Trainable
from trainer.recipe.settings import TrainSettings

generator = np.random.default_rng(0)
pixels = [generator.uniform(0, 255, (4, 32, 32, 1)).astype(np.float32) for _ in range(4)]
truth = [generator.integers(0, 3, (4, 32, 32)).astype(np.uint8) for _ in range(4)]
for batch in truth:
    batch[:2] = 0  # the devices' parts differ in what they show

def train(recipe, devices):
    settings = TrainSettings.model_validate(recipe | {"devices": devices})
    trainable = _Trainable(settings, ("scratch", "stain"))
    stepper, figures = trainable._stepper, []
    count = settings.optimizer.accumulate
    for place, (x, t) in enumerate(zip(pixels, truth)):
        ends = place % count == count - 1
        done = stepper.step(x, t, 0.01, share=1 / count, ends_step=ends)
        if ends:
            stepper.follow(0.5)
            figures.append((done.loss, done.norm))
    net = trainable.net
    return figures, net.get_weights(), stepper.averages, stepper.answer(pixels[0]), trainable.strategy

def apart(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b))

for recipe in json.loads(sys.argv[1]):
    one, two, named = train(recipe, "one"), train(recipe, ["CPU:0", "CPU:1"]), train(recipe, ["CPU:1"])
    start = _Trainable(TrainSettings.model_validate(recipe), ("scratch", "stain")).net.get_weights()
    print(json.dumps({
        "replicas": two[4].num_replicas_in_sync,
        "figures": [one[0], two[0]],
        "weights": apart(one[1], two[1]), "averages": apart(one[2], two[2]), "answer": apart([one[3]], [two[3]]),
        "moved": apart(one[1], start), "named": apart(one[1], named[1]),
    }))
"""

RECIPE = {
    "name": "two",
    "model": {"family": "slim-unet", "widths": [4, 8], "dropout": 0.0},
    "tile": {"height": 32, "width": 32, "overlap_px": 0},
    "sampling": {"crop_px": 32, "batch": 4},
    # plain descent: Adam would blow rounding up where a slope is next to nothing
    "optimizer": {"kind": "momentum", "clip_norm": 0.5},
    "loss": {
        "terms": [
            {"kind": "cross_entropy", "class_weights": {"stain": 2.0}},
            {"kind": "dice"},
            {"kind": "tversky", "background": True},
            {"kind": "lovasz"},
        ]
    },
}


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """Train on one and on two devices in a process of their own: logical devices are made before anything else."""
    recipes = [RECIPE, RECIPE | {"optimizer": {"kind": "momentum", "clip_norm": 0.5, "accumulate": 2}}]
    command = [sys.executable, "-c", SCRIPT, json.dumps(recipes)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in result.stdout.splitlines()[-2:]]


@pytest.mark.parametrize("place", [0, 1], ids=["a batch per step", "two batches per step"])
def test_two_devices_do_what_one_does(found: list[dict[str, Any]], place: int) -> None:
    """Losses, gradients' norms, weights, batch statistics and averages agree with one device at the same batch."""
    of_recipe = found[place]
    assert of_recipe["replicas"] == 2
    one, two = of_recipe["figures"]
    assert len(one) == (4, 2)[place]
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    assert of_recipe["moved"] > 0.01
    for what in ("weights", "averages", "answer", "named"):
        assert of_recipe[what] < 1e-3, of_recipe


def test_devices_that_are_not_there_are_named() -> None:
    """A device that the machine lacks, and a batch that cannot be shared, end in a message."""
    settings = TrainSettings.model_validate(RECIPE | {"devices": ["GPU:0", "GPU:7"]})
    with pytest.raises(SettingsError, match=r"GPU:0, GPU:7 not found; this machine has CPU:0"):
        make_strategy(settings)


def test_all_devices_of_a_machine_without_gpus_is_its_processor() -> None:
    """A recipe for a machine with GPUs trains on one without."""
    assert make_strategy(TrainSettings.model_validate(RECIPE | {"devices": "all"})).num_replicas_in_sync == 1
