"""One step of training, compiled: the slope of the loss, clipped, to the optimizer; and the average of the weights.

On several devices each takes its part of the batch. Figures pooled over a batch (batch statistics, Dice) are pooled
over all parts. Gradients are added up before they are clipped. So the devices together do what one would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.records import Float32, UInt8
from trainer.recipe.settings import TrainSettings
from trainer.training.optimizers import make_optimizer


@dataclass(frozen=True)
class Stepped:
    """The outcome of a batch: the loss and, where it ended a step, the global norm of the gradient before clipping."""

    loss: float
    norm: float | None


class Stepper:
    """Holds the network, its optimizer and the moving average of its weights, and moves them step by step."""

    def __init__(self, settings: TrainSettings, net: Any, loss: Callable[[Any, Any], Any], strategy: Any) -> None:
        self.net, self.loss = net, loss
        self._settings, self._strategy = settings, strategy
        self._replicas: int = strategy.num_replicas_in_sync
        if self._replicas > 1:
            _share_batch_statistics(net)
        self._averages = [_variable(value) for value in net.get_weights()]
        self._proven = [_variable(value) for value in net.get_weights()]
        self._gathered: list[Any] | None = None
        self.rebuild()

    def rebuild(self) -> None:
        """Begin with a new optimizer for what is trainable now, and compile the step anew.

        One count for all variables corrects Adam's moments for their short history, so variables that join late would
        leap. All begin anew instead. The moments of the others are back within some steps.
        """
        import tensorflow as tf

        s = self._settings
        with self._strategy.scope():
            self.optimizer = make_optimizer(s.optimizer, s.precision)
            self.optimizer.build(self.net.trainable_variables)
        # the compiled functions here have no branches of their own to be rewritten into graphs
        how = {"autograph": False, "reduce_retracing": True} | ({"jit_compile": True} if s.xla else {})
        self._whole_step = tf.function(self._slope_and_move, **how)
        self._slope = tf.function(self._slope_of_part, **how)
        self._move = tf.function(self._move_by, **how)
        self._answer = tf.function(lambda pixels: self.net(pixels, training=False), reduce_retracing=True)
        self._follow = tf.function(self._average, autograph=False)
        self._gathered = None

    def step(
        self, pixels: Float32, truth: UInt8, rate: float, *, share: float = 1.0, ends_step: bool = True
    ) -> Stepped:
        """Learn from a batch, float32 [B, (T,) S, S, C] and uint8 [B, h, w], at the learning rate `rate`.

        A step may be made of several batches: each has its `share` of it, and only the last one `ends_step`.
        """
        if ends_step:
            self.optimizer.learning_rate.assign(rate)
        parts = self._distributed(pixels), self._distributed(truth)
        if share == 1 and ends_step:
            loss, norm = self._whole_step(*parts)
            return Stepped(float(loss), float(norm))
        loss, gradients = self._slope(*parts, np.float32(share))
        if self._gathered is not None:
            gradients = [
                a if b is None else b if a is None else a + b for a, b in zip(self._gathered, gradients, strict=True)
            ]
        if not ends_step:
            self._gathered = gradients
            return Stepped(float(loss), None)
        self._gathered = None
        return Stepped(float(loss), float(self._move(gradients)))

    def follow(self, decay: float) -> None:
        """Move the average of all weights: decay x average + (1 - decay) x weight."""
        self._follow(np.float32(decay))

    def answer(self, pixels: Float32) -> Float32:
        """Return float32 logits [N, h, w, K'] of the weights in use, as in inference."""
        logits: Float32 = self._answer(pixels).numpy()
        return logits.astype(np.float32)

    @property
    def averages(self) -> list[Float32]:
        """Copies of the averages of the weights, in the order of `net.get_weights()`."""
        return [variable.numpy() for variable in self._averages]

    @averages.setter
    def averages(self, values: list[Float32]) -> None:
        for average, proven, value in zip(self._averages, self._proven, values, strict=True):
            average.assign(value)
            proven.assign(value)

    @property
    def proven(self) -> list[Float32]:
        """Copies of the averages without the weights of the last step, whose loss and slope nobody knows yet."""
        return [variable.numpy() for variable in self._proven]

    def _distributed(self, values: Any) -> Any:
        if self._replicas == 1:
            return values
        part = len(values) // self._replicas
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group * part :][:part]
        )

    def _slope_and_move(self, pixels: Any, truth: Any) -> tuple[Any, Any]:
        if self._replicas == 1:
            loss, gradients = self._gradients(pixels, truth, 1.0)
            return loss, self._clip_and_apply(gradients)
        loss, gradients = self._strategy.run(self._gradients, (pixels, truth, 1.0))
        norms = self._strategy.run(self._clip_and_apply, (gradients,))
        return self._strategy.reduce("SUM", loss, axis=None), self._first(norms)

    def _slope_of_part(self, pixels: Any, truth: Any, share: Any) -> tuple[Any, list[Any]]:
        if self._replicas == 1:
            loss, gradients = self._gradients(pixels, truth, share)
            return loss / share, gradients
        loss, gradients = self._strategy.run(self._gradients, (pixels, truth, share))
        return self._strategy.reduce("SUM", loss, axis=None) / share, [self._first(g) for g in gradients]

    def _move_by(self, gradients: list[Any]) -> Any:
        if self._replicas == 1:
            return self._clip_and_apply(gradients)
        return self._first(self._strategy.run(self._clip_and_apply, (gradients,)))

    def _gradients(self, pixels: Any, truth: Any, share: Any) -> tuple[Any, list[Any]]:
        """Return this device's part of share x loss, and the gradient of the whole, the same on every device."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self.loss(self.net(pixels, training=True), truth)
            loss = tf.add_n([loss, *(tf.cast(term, tf.float32) for term in self.net.losses)])  # regularisation
            # an all-sum's slope is an all-sum, so each device's own part is what it adds to the mean of all
            part = loss * share / self._replicas
            scaled = part * self._scale()
        gradients = tape.gradient(scaled, self.net.trainable_variables)
        if self._replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        return part, gradients

    def _clip_and_apply(self, gradients: list[Any]) -> Any:
        import tensorflow as tf

        scale = self._scale()
        clipped, norm = tf.clip_by_global_norm(gradients, self._settings.optimizer.clip_norm * scale)
        if self._replicas > 1:  # Keras adds up what each device hands in
            clipped = [None if g is None else g / self._replicas for g in clipped]
        self.optimizer.apply(clipped, self.net.trainable_variables)
        return norm / scale

    def _scale(self) -> Any:
        """Return what the loss is multiplied by, so that small slopes survive half precision: 1 elsewhere."""
        return self.optimizer.dynamic_scale.value if self._settings.precision == "mixed_float16" else 1.0

    def _first(self, values: Any) -> Any:
        return self._strategy.experimental_local_results(values)[0]

    def _average(self, decay: Any) -> None:
        for average, proven, weight in zip(self._averages, self._proven, self.net.weights, strict=True):
            proven.assign(average)
            average.assign(decay * average + (1 - decay) * weight.value)


def _variable(value: Float32) -> Any:
    import tensorflow as tf

    return tf.Variable(value, trainable=False)


def _share_batch_statistics(net: Any) -> None:
    for layer in _layers(net):
        if hasattr(layer, "synchronized"):
            layer.synchronized = True


def _layers(model: Any) -> Iterator[Any]:
    """Yield every layer, those of models inside too."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)
