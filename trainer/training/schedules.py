"""The learning rate over time. Pure: progress, steps and the history of validation are arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainer.recipe.optimizer_settings import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    OptimizerSettings,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)


def learning_rate(settings: OptimizerSettings, progress: float, steps: int, scores: Sequence[float]) -> float:
    """Return the rate of the next step.

    `progress`: how far the whole schedule is, 0-1. `steps`: done since training, or its present stage, began; the rate
    rises evenly over the first `warm_up_steps`. `scores`: what validation said after each epoch, more is better.
    """
    warm = min(1.0, (steps + 1) / settings.warm_up_steps) if settings.warm_up_steps else 1.0
    return settings.learning_rate * warm * share(settings.schedule, progress, scores)


def share(schedule: Schedule, progress: float, scores: Sequence[float]) -> float:
    """Return the share of the full rate, 0-1.

    The cosine is Loshchilov and Hutter's 2017 (arXiv 1608.03983), eq. 5, without restarts.
    """
    match schedule:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule():
            return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress))
        case ExponentialSchedule():
            return float(schedule.floor**progress)
        case StepSchedule():
            return float(schedule.factor ** sum(progress >= at for at in schedule.at))
        case PlateauSchedule():
            lowered = plateaus(scores, schedule.patience_epochs)
            return max(schedule.floor, schedule.factor**lowered)


def plateaus(scores: Sequence[float], patience: int) -> int:
    """Count how often `patience` epochs in a row brought nothing better than the best before; each starts anew."""
    best, waited, count = -math.inf, 0, 0
    for score in scores:
        if score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited == patience:
            count, waited = count + 1, 0
    return count
