"""Epochs of steps until the schedule is over or nothing gets better; the result is validated, told and kept.

An epoch's batches depend on the seed and the epoch alone. Everything else that training remembers is in the checkpoint.
So a resumed run goes on as if it had not been stopped. Steps decide: the schedule follows them alone. So one seed on
one machine gives the same weights twice, however busy it is. `max_minutes` is a limit: the epoch in which it is reached
is the last, and the run says that it was cut.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edge.cli.terminal import warn
from edge.errors import DatasetError, LinewatchError, SettingsError
from edge.records import Float32
from edge.stopping import stopping_on_signals
from edge.wording import command, counted
from trainer.recipe.settings import TrainSettings
from trainer.training import checkpointing
from trainer.training.batches import Batches, DrawnBatch
from trainer.training.checkpointing import Run
from trainer.training.collapse_guard import LossOfClass, look
from trainer.training.curves import epochs_of, read_curves
from trainer.training.eta import MEASURED_STEPS, SKIPPED_STEPS, forecast
from trainer.training.event_logs import FOLDER as EVENTS
from trainer.training.event_logs import EventLog
from trainer.training.schedules import learning_rate
from trainer.training.stepping import Stepper
from trainer.training.validating import Validated, Validation

if TYPE_CHECKING:  # the models import Keras, and a machine without it gets a message rather than a traceback
    from trainer.models import Stage

# A mean Dice within this of the best is as good: from one epoch to the next it moves by as much.
AS_GOOD_DICE = 0.01
_RECENT_STEPS = 20
_NAMED_PICTURES = 40


class InterruptedTrainingError(LinewatchError):
    """Ctrl-C: the last whole epoch is kept and can be resumed."""

    exit_code = 130


class CollapsedTrainingError(DatasetError):
    """A class is being lost, and the recipe asks to stop then."""


class TrainingLoop:
    """Trains `stepper`'s network on `batches`, judged by `validation`; keeps everything in `folder`.

    `stages` say what is trainable from which share of the schedule on. After `train` the best epoch's averaged weights
    are in `best_weights`, and what happened in `run`. The last epoch counts as the best at the schedule's end where it
    is as good as the best (`AS_GOOD_DICE`). Its learning rate has fallen. The luck of the validation crops tells which
    of several epochs is a hair better. With `goes_on` it does so in any case: what another part goes on from, and fits
    thresholds with, is to be like what that part ends with. `after`: the folder of the part that came before, which is
    kept there whatever happens to this one.
    """

    def __init__(
        self,
        settings: TrainSettings,
        stepper: Stepper,
        *,
        batches: Batches,
        validation: Validation,
        stages: Sequence[Stage],
        folder: Path,
        console: Console,
        goes_on: bool = False,
        after: Path | None = None,
    ) -> None:
        self.run = Run()
        self.best_weights: list[Float32] = stepper.averages
        self._settings, self._stepper, self._console = settings, stepper, console
        self._batches, self._validation = batches, validation
        self._stages = sorted(stages, key=lambda stage: stage.share)
        self._folder, self._goes_on, self._after = folder, goes_on, after
        self._events = EventLog(folder / EVENTS) if settings.logs.tensorboard else None
        self._findings: list[LossOfClass] = []
        self._interrupted: Callable[[], bool] = lambda: False
        self._first_ends_s: list[float] = []
        self._recent_s: deque[float] = deque(maxlen=_RECENT_STEPS + 1)

    def going_on(self, settings: TrainSettings, batches: Batches, folder: Path) -> TrainingLoop:
        """Return a loop that goes on from this one's best weights: a schedule, an optimizer and a folder of its own.

        A layer that has become trainable stays so.
        """
        stepper = self._stepper
        stepper.net.set_weights(self.best_weights)
        stepper.averages = self.best_weights
        stepper.rebuild()
        return TrainingLoop(
            settings,
            stepper,
            batches=batches,
            validation=self._validation,
            stages=(),
            folder=folder,
            console=self._console,
            goes_on=True,  # its last weights are what is kept
            after=self._folder,
        )

    @property
    def last_weights(self) -> list[Float32]:
        """The averaged weights after the last step."""
        return self._stepper.averages

    def progress(self) -> float:
        """Tell how far the schedule is, 0-1, by the steps of the recipe."""
        return min(1.0, self.run.steps / self._steps_in_all)

    @property
    def _steps_in_all(self) -> int:
        return self._settings.epochs * self._settings.sampling.steps_per_epoch

    @property
    def cut_by_clock(self) -> dict[str, Any] | None:
        """Return what is missing where `max_minutes` ended the training before its schedule; None where it did not."""
        limit = self._settings.max_minutes
        if limit is None or self.run.elapsed_s < limit * 60 or self.progress() >= 1 or self._waited_in_vain:
            return None
        return {"max_minutes": limit, "steps": self.run.steps, "of_steps": self._steps_in_all}

    @property
    def _waited_in_vain(self) -> bool:
        return self.run.epoch - self.run.best_epoch >= self._settings.early_stopping_epochs

    def train(self, *, resume: bool) -> None:
        """Run epochs until the schedule is over or nothing gets better.

        Raises InterruptedTrainingError, CollapsedTrainingError, DatasetError where the loss is no number, and
        StoreError. Raises SettingsError where the device cannot do what the recipe asks for.
        """
        if resume:
            self._restore()
        else:
            self._begin_stages()
        checkpointing.check_room(self._folder, checkpointing.room_needed(self._stepper))
        # a job in the background ignores Ctrl-C, and goes on doing so
        heard = [signal.SIGINT] if signal.getsignal(signal.SIGINT) is signal.default_int_handler else []
        try:
            with stopping_on_signals(*heard) as self._interrupted, progress_bar(self._console) as bar:
                task = bar.add_task("training", total=self._steps_in_all, completed=self.run.steps)
                while self.progress() < 1 and not self._waited_in_vain and self.cut_by_clock is None:
                    self._epoch(partial(self._show, bar, task))
                    self._end_if_interrupted()
                    self._stop_if_asked()
        except KeyboardInterrupt as error:
            before = "The epochs before it are" if self.run.epoch else "The part before it is"
            nothing = not self.run.epoch and self._after is None
            kept = "Nothing is kept" if nothing else f"{before} kept; go on with --resume"
            raise InterruptedTrainingError(f"Interrupted in epoch {self.run.epoch + 1}. {kept}") from error
        finally:
            if self._events is not None:
                self._events.close()
        if self._waited_in_vain:
            patience = counted(self._settings.early_stopping_epochs, "epoch")
            self._console.print(f"stopped early: nothing got better in {patience}")
        if cut := self.cut_by_clock:
            warn(self._console, cut_in_words(cut))
        self._prefer_the_last()
        self._tell_at_the_end()

    def _prefer_the_last(self) -> None:
        """Let the last epoch be the best at the schedule's end, where it is as good or training goes on.

        Raises StoreError.
        """
        run = self.run
        if self.progress() < 1 or run.best_epoch == run.epoch:
            return
        last_dice = run.rows[-1]["dice"] or 0.0
        if run.best_dice - last_dice > AS_GOOD_DICE and not self._goes_on:
            return
        run.best_dice, run.best_epoch = last_dice, run.epoch
        self.best_weights = self.last_weights
        checkpointing.save(self._folder, run, self._stepper, self.best_weights)

    def _end_if_interrupted(self) -> None:
        """End between two steps: Ctrl-C within one has ended in a crash of TensorFlow's process."""
        if self._interrupted():
            raise KeyboardInterrupt

    def _stop_if_asked(self) -> None:
        reasons = [finding.words for finding in self._findings if finding.action == "stop"]
        if reasons:
            raise CollapsedTrainingError(
                f"Stopped after epoch {self.run.epoch}, as guard.action asks: {' '.join(reasons)}. The weights of "
                f"epoch {self.run.best_epoch} are kept in {self._folder / checkpointing.CHECKPOINT}; with "
                "guard.action: warn it would have gone on. Change the recipe, and begin from them with: "
                f"linewatch-train fit RECIPE --data DATA --out NEW "
                f"{command('--from', self._folder.parent if self._after is None else self._folder)}"
            )

    def _restore(self) -> None:
        self.run = checkpointing.read_run(self._folder)
        if self.run.stage:
            for stage in self._stages[: self.run.stage]:
                stage.trainable(self._stepper.net)
            self._stepper.rebuild()
        self.best_weights = checkpointing.restore(self._folder, self._stepper)
        minutes = self.run.elapsed_s / 60
        self._console.print(f"resumed after epoch {self.run.epoch}, {minutes:.1f} minutes")

    def _begin_stages(self) -> None:
        """Let the stages begin that are due: more becomes trainable, with an optimizer and a warm-up of its own."""
        due = sum(stage.share <= self.progress() for stage in self._stages)
        if due == self.run.stage:
            return
        for stage in self._stages[self.run.stage : due]:
            stage.trainable(self._stepper.net)
        self._stepper.rebuild()
        self.run.stage, self.run.stage_steps = due, self.run.steps
        if len(self._stages) > 1:
            trained = sum(int(np.prod(v.shape)) for v in self._stepper.net.trainable_variables)
            self._console.print(f"stage {due} of {len(self._stages)}: {trained:,} parameters are trained")

    def _show(self, bar: Progress, task: TaskID, text: str) -> None:
        bar.update(task, completed=self.run.steps, description=text)

    def _epoch(self, show: Callable[[str], None]) -> None:
        s, run = self._settings, self.run
        losses: list[float] = []
        began_s, before_s, before_steps = time.monotonic(), run.elapsed_s, run.steps
        rate = 0.0
        self._recent_s.clear()
        with self._batches.epoch(run.epoch) as batches:
            of_step = 0.0
            for batch in batches:
                self._begin_stages()
                rate = learning_rate(
                    s.optimizer, self.progress(), run.steps - run.stage_steps, [row["dice"] or 0.0 for row in run.rows]
                )
                of_step += batch.share * self._learn(batch, rate)
                self._end_if_interrupted()
                if not batch.ends_step:
                    continue
                losses.append(of_step)
                of_step = 0.0
                run.steps += 1
                run.elapsed_s = before_s + time.monotonic() - began_s
                self._follow()
                show(self._progress_text(losses))
                self._forecast()
        steps_s = time.monotonic() - began_s
        judged = self._judge()
        run.elapsed_s = before_s + time.monotonic() - began_s
        run.epoch += 1
        if judged.score > run.best_dice:
            run.best_dice, run.best_epoch = judged.score, run.epoch
            self.best_weights = self._stepper.averages
        speed = (run.steps - before_steps) / steps_s
        run.rows.append(self._row(judged, float(np.mean(losses)), rate, speed))
        checkpointing.save(self._folder, run, self._stepper, self.best_weights)
        if self._events is not None:
            measured = {k: v for k, v in run.rows[-1].items() if v is not None and k not in {"epoch", "steps"}}
            self._events.write(measured, run.steps)
        self._findings = look(epochs_of(run.rows), s.guard)
        self._tell_epoch(judged, float(np.mean(losses)))

    def _forecast(self) -> None:
        """Say once, after the first steps of this run, how long it will take."""
        if len(self._first_ends_s) > SKIPPED_STEPS + MEASURED_STEPS:
            return
        s = self._settings
        self._first_ends_s.append(time.monotonic())
        told = forecast(self._first_ends_s, self._steps_in_all, s.max_minutes)
        if told:
            self._console.print(told)

    def _learn(self, batch: DrawnBatch, rate: float) -> float:
        import tensorflow as tf

        try:
            stepped = self._stepper.step(batch.pixels, batch.truth, rate, share=batch.share, ends_step=batch.ends_step)
        except tf.errors.ResourceExhaustedError as error:
            raise SettingsError(
                f"The device's memory is full at step {self.run.steps + 1}. Lower sampling.batch (and raise "
                "optimizer.accumulate as much), sampling.crop_px, or give precision: mixed_float16"
            ) from error
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError, tf.errors.InternalError) as error:
            first_line = str(error).splitlines()[0]
            if self._settings.deterministic and "determinis" in first_line:
                raise SettingsError(
                    f"This device has no way to compute a step twice to the same bits: {first_line}. Give "
                    "deterministic: false"
                ) from error
            if not self._settings.xla:
                raise
            raise SettingsError(f"XLA cannot compile this model's step: {first_line}. Give xla: false") from error
        # half precision skips a step whose slope overflows, and lowers its scale; elsewhere such a slope is the end
        slope = 0.0 if stepped.norm is None or self._settings.precision == "mixed_float16" else stepped.norm
        if not np.isfinite(stepped.loss) or not np.isfinite(slope):
            raise self._diverged(batch, "loss" if not np.isfinite(stepped.loss) else "gradient", stepped.loss)
        return stepped.loss

    def _diverged(self, batch: DrawnBatch, what: str, loss: float) -> DatasetError:
        run = self.run
        value = f"{loss}" if what == "loss" else "no finite number"
        named = ", ".join(batch.shows[:_NAMED_PICTURES])
        more = f" and {len(batch.shows) - _NAMED_PICTURES} more" if len(batch.shows) > _NAMED_PICTURES else ""
        path = checkpointing.save_last_good(self._folder, self._stepper, self.best_weights)
        kept = f"The weights before it are kept in {path}" if path else "There is no room to keep the weights before it"
        checkpoint = self._folder / checkpointing.CHECKPOINT
        epochs = f", those of epoch {run.epoch} in {checkpoint}" if run.epoch else ""
        start = path or (checkpoint if run.epoch else None)
        again = (
            f", from these weights: linewatch-train fit RECIPE --data DATA --out NEW {command('--from', start)}"
            if start
            else ""
        )
        return DatasetError(
            f"The {what} is {value} at step {run.steps + 1} (epoch {run.epoch + 1}), in a batch with {named}{more}. "
            f"{kept}{epochs}. Check those pictures; or lower optimizer.learning_rate or optimizer.clip_norm, and train "
            f"on{again or ' in another folder'}"
        )

    def _follow(self) -> None:
        # Early on the average must follow quickly, or it would remember the random start.
        decay = min(self._settings.optimizer.average_decay, (1 + self.run.steps) / (10 + self.run.steps))
        self._stepper.follow(decay)

    def _judge(self) -> Validated:
        """Validate the averaged weights."""
        net = self._stepper.net
        own = net.get_weights()
        net.set_weights(self._stepper.averages)
        judged = self._validation.judge(self._stepper.answer, self._stepper.loss)
        net.set_weights(own)
        return judged

    def _row(self, judged: Validated, loss: float, rate: float, speed: float) -> dict[str, float | None]:
        run = self.run
        return {
            "epoch": run.epoch,
            "steps": run.steps,
            "seconds": round(run.elapsed_s, 1),
            "steps_per_second": round(speed, 3),
            "learning_rate": rate,
            "loss": loss,
            "validation_loss": judged.loss,
            "dice": judged.score,
            "baseline_dice": judged.baseline,
            **{f"dice_{name}": value for name, value in judged.dice.items()},
            **{f"answered_{name}": value for name, value in judged.answered_share.items()},
            **{f"true_{name}": value for name, value in judged.true_share.items()},
        }

    def _progress_text(self, losses: list[float]) -> str:
        self._recent_s.append(time.monotonic())
        span_s = self._recent_s[-1] - self._recent_s[0]
        speed = f"  {(len(self._recent_s) - 1) / span_s:.2f} steps/s" if span_s else ""
        run = self.run
        loss = np.mean(losses[-_RECENT_STEPS:])
        best = f"{run.best_dice:.3f}" if run.epoch else "not known yet"
        return f"epoch {run.epoch + 1}  loss {loss:.3f}  validation dice {best}{speed}"

    def _tell_epoch(self, judged: Validated, loss: float) -> None:
        """Say how the epoch went, and warn once of each class that is being lost."""
        run = self.run
        words = "  ".join(f"{name} {value:.3f}" for name, value in judged.dice.items() if value is not None)
        minutes = f"{run.elapsed_s / 60:5.1f} min"
        self._console.print(f"epoch {run.epoch:3d}  {minutes}  loss {loss:.3f}  dice {judged.score:.3f}  ({words})")
        for finding in self._findings:
            if finding.is_new:
                warn(self._console, finding.words)

    def _tell_at_the_end(self) -> None:
        """Say how long it took, where the log is, and what the curves show."""
        run = self.run
        speed = run.steps / run.elapsed_s if run.elapsed_s else 0.0
        self._console.print(
            f"{counted(run.steps, 'step')} in {run.elapsed_s:.0f} s ({speed:.2f} steps/s with validation); "
            f"the log is {self._folder / checkpointing.LOG}"
        )
        for reading in read_curves(epochs_of(run.rows)):
            told = f"{reading.kind.replace('_', ' ')}: {reading.evidence}. {reading.remedy}"
            self._console.print(f"the curves: {told}")


def progress_bar(console: Console) -> Progress:
    """Make a bar that shows what is done, what is left and how long it takes; nothing where nobody watches."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def cut_in_words(cut: dict[str, Any]) -> str:
    """Say that the clock cut a training; `cut` as `TrainingLoop.cut_by_clock` gives it."""
    return (
        f"max_minutes: {cut['max_minutes']:g} cut the training after {cut['steps']:,} of {cut['of_steps']:,} steps, "
        "before its learning rate had fallen; another run is cut elsewhere. Raise max_minutes and go on with --resume, "
        "or lower epochs"
    )


def announce(settings: TrainSettings, net: Any, hardware: str, console: Console) -> None:
    """Say what is about to be trained, on what, and for how long."""
    steps = settings.epochs * settings.sampling.steps_per_epoch
    limit = f", at most {settings.max_minutes:g} min" if settings.max_minutes else ""
    precision = "" if settings.precision == "float32" else f", {settings.precision}"
    compiled = ", XLA" if settings.xla else ""
    parameters = sum(int(np.prod(v.shape)) for v in net.trainable_variables)
    console.print(f"on {hardware}{precision}{compiled}")
    console.print(
        f"{settings.model.family}: {parameters:,} parameters; {counted(settings.epochs, 'epoch')}, "
        f"{counted(steps, 'step')}{limit}"
    )
    if settings.final_training is not None:
        console.print(
            f"in two parts, of which the last, {settings.final_training.share:.0%} of it, learns from validation too"
        )
