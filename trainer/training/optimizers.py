"""From a recipe to one of Keras's optimizers."""

from __future__ import annotations

from typing import Any

from trainer.recipe.optimizer_settings import OptimizerSettings

_MOMENTUM = 0.9


def make_optimizer(settings: OptimizerSettings, precision: str) -> Any:
    """Return an unbuilt keras optimizer; with `mixed_float16` inside one that scales the loss.

    It clips nothing: gradients are clipped before they come, over all devices and batches of a step.
    """
    import keras

    rate, decay = settings.learning_rate, settings.decay or None
    match settings.kind:
        case "sgd":
            optimizer = keras.optimizers.SGD(rate, weight_decay=decay)
        case "momentum":
            momentum = _MOMENTUM if settings.momentum is None else settings.momentum
            optimizer = keras.optimizers.SGD(rate, momentum=momentum, nesterov=settings.nesterov, weight_decay=decay)
        case "rmsprop":
            optimizer = keras.optimizers.RMSprop(
                rate, rho=settings.rho, momentum=settings.momentum or 0.0, weight_decay=decay
            )
        case "adam":
            optimizer = keras.optimizers.Adam(rate, settings.beta_1, settings.beta_2)
        case "adamw":
            # Keras takes None for "not given", and 0 for no decay
            optimizer = keras.optimizers.AdamW(
                rate, weight_decay=settings.decay, beta_1=settings.beta_1, beta_2=settings.beta_2
            )
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
