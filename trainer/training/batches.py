"""The batches of an epoch, drawn ahead in a thread of their own, with the names of their pictures."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from edge.inspection.tiling import cut, pad, plan
from edge.records import Float32, UInt8
from trainer.augmenting import CropSampler
from trainer.augmenting.geometry import resized
from trainer.datasets.cells import cells_of
from trainer.datasets.dataset import Picture
from trainer.recipe.settings import TrainSettings
from trainer.training.sequences import SequenceSampler, cut_sequence, sequences_of, usual_velocity

_AHEAD = 6


@dataclass(frozen=True)
class DrawnBatch:
    """Pixels float32 [B, (T,) S, S, C] (0-255), truth uint8 [B, h, w], `share` of its step, names of its pictures.

    `ends_step`: the gradient of its step is whole with it.
    """

    pixels: Float32
    truth: UInt8
    share: float
    ends_step: bool
    shows: tuple[str, ...]


# a batch, what failed, or the end
_Item = DrawnBatch | BaseException | None


class Batches:
    """The batches of each epoch that are learned from: they depend on the seed and the epoch alone."""

    def __init__(self, settings: TrainSettings, names: Sequence[str], pictures: Sequence[Picture]) -> None:
        self._settings = settings
        self._stride = settings.model.stride_px(settings.sampling.crop_px)
        whole = settings.sampling.crop == "whole"
        self._pictures = [resized(picture, settings.sampling.crop_px) for picture in pictures] if whole else pictures
        self._sampler = None if settings.optimizer.full_batch else self._make_sampler(names)

    def _make_sampler(self, names: Sequence[str]) -> CropSampler | SequenceSampler:
        s = self._settings
        weights = [s.sampling.class_weights.get(name, 1.0) for name in names]
        if s.model.frames > 1:
            return SequenceSampler(
                self._pictures, weights, s.sampling, s.augmentation, sequence=s.sequence, frames=s.model.frames
            )
        return CropSampler(self._pictures, weights, s.sampling, s.augmentation, names)

    @contextmanager
    def epoch(self, epoch: int) -> Iterator[Iterator[DrawnBatch]]:
        """Draw an epoch's batches in a thread, a few ahead; a failure there is raised here."""
        with _drawn_ahead(self._drawn(np.random.default_rng([self._settings.seed, epoch]))) as batches:
            yield batches

    def _drawn(self, generator: np.random.Generator) -> Iterator[DrawnBatch]:
        count = self._settings.optimizer.accumulate
        for _ in range(self._settings.sampling.steps_per_epoch):
            if self._sampler is None:
                yield from self._everything()
                continue
            for place in range(count):
                crops = self._sampler.batch_with_names(generator)
                yield self._batch(
                    crops.pixels, crops.truth, crops.images, share=1 / count, ends_step=place == count - 1
                )

    def _batch(
        self, pixels: Float32, truth: UInt8, images: Sequence[str], *, share: float, ends_step: bool
    ) -> DrawnBatch:
        cells = self._settings.cells
        reduced = cells_of(truth, self._stride, cells.min_share, cells.min_px) if self._stride > 1 else truth
        return DrawnBatch(pixels, reduced, share, ends_step, tuple(dict.fromkeys(images)))

    def _everything(self) -> Iterator[DrawnBatch]:
        """Cut every training picture into crops side by side: one pass over all there is, always the same."""
        s = self._settings
        sequences = sequences_of(self._pictures, s.sequence, s.model.frames)
        side = (s.sampling.crop_px, s.sampling.crop_px)
        sizes = [sequence[-1].truth.shape for sequence in sequences]
        total = sum(len(plan(height, width, side, 0).cells) for height, width in sizes)
        crops = ((*crop, sequence[-1].entry.image) for sequence in sequences for crop in _side_by_side(sequence, s))
        done = 0
        while done < total:
            count = min(s.sampling.batch, total - done)
            chosen = [next(crops) for _ in range(count)]
            done += count
            pixels = np.stack([pixels for pixels, _, _ in chosen]).astype(np.float32)
            truth = np.stack([truth for _, truth, _ in chosen])
            images = [image for _, _, image in chosen]
            yield self._batch(pixels, truth, images, share=count / total, ends_step=done == total)


def _side_by_side(sequence: tuple[Picture, ...], settings: TrainSettings) -> Iterator[tuple[UInt8, UInt8]]:
    """Cut pixels uint8 [(T,) S, S, C] and truth uint8 [S, S] from all over a picture, or a sequence of them."""
    last, size = sequence[-1], settings.sampling.crop_px
    height, width = last.truth.shape
    tiles = plan(height, width, (size, size), 0)
    if settings.model.frames > 1:
        for cell in tiles.cells:
            corner = np.array([[1.0, 0.0, cell.x], [0.0, 1.0, cell.y]])
            yield cut_sequence(sequence, corner, usual_velocity(settings.sequence), size)
        return
    padded, truth = pad(last.pixels, tiles), pad(last.truth[:, :, None], tiles)
    for cell in tiles.cells:
        crop = np.empty((size, size, padded.shape[2]), np.uint8)
        true = np.empty((size, size, 1), np.uint8)
        cut(padded, tiles, cell, crop)
        cut(truth, tiles, cell, true)
        yield crop, true[:, :, 0]


@contextmanager
def _drawn_ahead(source: Iterator[DrawnBatch]) -> Iterator[Iterator[DrawnBatch]]:
    ahead: queue.Queue[_Item] = queue.Queue(_AHEAD)
    stop = threading.Event()
    # no daemon: wherever Ctrl-C comes, Python waits for a thread that is told to stop. A daemon that it cuts off inside
    # OpenCV would abort the process
    thread = threading.Thread(target=_draw, args=(source, ahead, stop), name="crops")
    try:
        thread.start()
        yield _taken_from(ahead)
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def _draw(source: Iterator[DrawnBatch], ahead: queue.Queue[_Item], stop: threading.Event) -> None:
    """Put batches into the queue until the last, a failure, or the order to stop."""
    while not stop.is_set():
        try:
            item: _Item = next(source, None)
        except BaseException as error:  # noqa: BLE001 - handed over to the caller
            item = error
        while not stop.is_set():
            with suppress(queue.Full):
                ahead.put(item, timeout=0.2)
                break
        if not isinstance(item, DrawnBatch):
            return


def _taken_from(ahead: queue.Queue[_Item]) -> Iterator[DrawnBatch]:
    while (item := ahead.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
