"""Pictures that show nearly the same: two shots of one piece, a copy turned or mirrored, neighbours of one recording.

Two steps, so that uniformly grey pictures are not all alike. A perceptual hash proposes pairs: the signs of a small
picture's low DCT frequencies against their median. It is compared over all eight turns and flips. Source: Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010. Then the pair's fine detail must correlate,
at the best of small shifts. The common look of many pictures of one size, as under a fixed camera, is taken away first.
It tells nothing about the piece. A piece that more than half of the pictures show is taken away too. Then only groups
in the manifest help.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import SourceError
from edge.opencv import cv2
from edge.pictures import read_to_look_at
from edge.records import Float32, UInt8

SIDE_PX = 128  # of the thumbnails; squashed to a square, which commutes with turns and flips
_HASHED_PX, _LOW = 32, 8
_BITS = _LOW * _LOW - 1
_BITS_APART = 14
_PROPOSED_EACH = 40
_DETAIL_SIGMA_PX = 4.0
_SHIFT_PX = 8
_LOOK_FROM = 16
# Grey levels of detail below which a thumbnail holds noise and rounding only.
_FLAT = 0.25
CORRELATION = 0.8
_READERS = 4
_SPECTRA_KEPT = 1024  # most pictures are in no proposal, neighbours of a recording in many

Complex64 = NDArray[np.complex64]


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a dataset made small: uint8 [128, 128] grey, and its size (height, width) before, px."""

    image: str
    pixels: UInt8
    size: tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Two pictures that show nearly the same. `correlation` of their detail, to 1; `turned`: how the second lies."""

    first: str
    second: str
    correlation: float
    turned: str


ORIENTATIONS = tuple(
    f"{'mirrored' if mirrored else ''}{' and ' if mirrored and turns else ''}{f'turned {90 * turns}' if turns else ''}"
    or "upright"
    for mirrored in (False, True)
    for turns in range(4)
)


def orient(pixels: Float32, orientation: int) -> Float32:
    """Mirror (orientations 4-7) and turn by quarters, anticlockwise: one of the eight ways that a square may lie."""
    mirrored = pixels[:, ::-1] if orientation >= 4 else pixels
    return np.ascontiguousarray(np.rot90(mirrored, orientation % 4))


def thumbnail(image: str, pixels: UInt8) -> Thumbnail:
    """Make uint8 grey or BGR pixels small."""
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.shape[2] == 3 else pixels
    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return Thumbnail(image, small.reshape(SIDE_PX, SIDE_PX), (pixels.shape[0], pixels.shape[1]))


def read_thumbnails(
    pictures: Sequence[tuple[str, Path]], done: Callable[[], object] = lambda: None
) -> Iterator[Thumbnail]:
    """Read pictures (name, path) once each, some at a time; those that cannot be read are left out.

    `done` is called after each picture, for a progress bar.
    """

    def read(named: tuple[str, Path]) -> Thumbnail | None:
        try:
            return thumbnail(named[0], read_to_look_at(named[1]))
        except SourceError:
            return None  # an audit or the training tells of it

    with ThreadPoolExecutor(_READERS, thread_name_prefix="thumbnails") as pool:
        for found in pool.map(read, pictures):
            done()
            if found is not None:
                yield found


def near_duplicates(thumbnails: Sequence[Thumbnail], correlation: float = CORRELATION) -> list[Pair]:
    """Find the pairs whose detail correlates by at least `correlation`, in the order of their names.

    Hashes are compared all with all, and at most 40 proposals each are verified. The comparison is a product of
    matrices: of 5,000 pictures it takes some seconds, no more than what is linear in them. Needs about 0.1 MB per
    picture.
    """
    known = sorted(thumbnails, key=lambda small: small.image)
    if len(known) < 2:
        return []
    own = _without_common_look(known)

    @lru_cache(_SPECTRA_KEPT)
    def spectrum(place: int, orientation: int) -> Complex64:
        return np.fft.rfft2(orient(_detail(own[place]), orientation)).astype(np.complex64)

    pairs = []
    for i, j, orientation in _proposed(own):
        found = _correlation(spectrum(i, 0), spectrum(j, orientation))
        if found >= correlation:
            pairs.append(Pair(known[i].image, known[j].image, round(found, 3), ORIENTATIONS[orientation]))
    return pairs


def clusters(pairs: Iterable[Pair]) -> list[tuple[str, ...]]:
    """Join pairs that share a picture; each cluster sorted, the largest first."""
    leader: dict[str, str] = {}

    def find(image: str) -> str:
        while leader.setdefault(image, image) != image:
            image = leader[image]
        return image

    for pair in pairs:
        first, second = sorted((find(pair.first), find(pair.second)))
        leader[second] = first
    members: dict[str, list[str]] = defaultdict(list)
    for image in sorted(leader):
        members[find(image)].append(image)
    return sorted((tuple(images) for images in members.values()), key=lambda images: (-len(images), images))


def _without_common_look(known: Sequence[Thumbnail]) -> Float32:
    """Subtract from each thumbnail the median of those of its size, where there are enough; float32 [N, S, S]."""
    own = np.empty((len(known), SIDE_PX, SIDE_PX), np.float32)
    for place, small in enumerate(known):
        own[place] = small.pixels
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, small in enumerate(known):
        by_size[small.size].append(place)
    for places in by_size.values():
        if len(places) >= _LOOK_FROM:
            for row in range(SIDE_PX):  # a row at a time: a median copies and sorts all that it is of
                own[places, row] -= np.median(own[places, row], axis=0)
    return own


def _detail(pixels: Float32) -> Float32:
    """Keep what is finer than a few pixels, of length 1 (float32 [S, S]); nothing where there is no more than noise."""
    fine = pixels - cv2.GaussianBlur(pixels, (0, 0), _DETAIL_SIGMA_PX)
    fine -= fine.mean()
    length = float(np.sqrt((fine**2).sum()))
    return np.zeros_like(fine) if length < _FLAT * SIDE_PX else (fine / length).astype(np.float32)


def _correlation(first: Complex64, second: Complex64) -> float:
    """Correlate two details of length 1, by their spectra, at the best shift of a few pixels around the border."""
    everywhere = np.fft.irfft2(first * np.conj(second), s=(SIDE_PX, SIDE_PX))
    near = np.arange(-_SHIFT_PX, _SHIFT_PX + 1)
    return float(everywhere[np.ix_(near, near)].max())


def _proposed(own: Float32) -> Iterator[tuple[int, int, int]]:
    """Yield (i, j, orientation of j) with i < j of pairs whose hashes are near; the nearest of each picture."""
    low = np.stack([_low_frequencies(pixels) for pixels in own])
    hashes = np.stack([_signs(_oriented(low, orientation)) for orientation in range(8)])
    count = len(own)
    for i in range(count - 1):
        apart = (_BITS - hashes[:, i + 1 :] @ hashes[0, i]) / 2
        orientation = apart.argmin(axis=0)
        nearest = apart[orientation, np.arange(count - i - 1)]
        near = np.flatnonzero(nearest <= _BITS_APART)
        for j in near[np.argsort(nearest[near], kind="stable")][:_PROPOSED_EACH]:
            yield i, i + 1 + int(j), int(orientation[j])


def _low_frequencies(pixels: Float32) -> Float32:
    small = cv2.resize(pixels, (_HASHED_PX, _HASHED_PX), interpolation=cv2.INTER_AREA)
    frequencies: Float32 = cv2.dct(small)[:_LOW, :_LOW]
    return frequencies


def _oriented(low: Float32, orientation: int) -> Float32:
    """Turn and flip pictures in the DCT domain, [N, 8, 8]: a flip changes the sign of odd frequencies."""
    alternating = np.array([1, -1] * (_LOW // 2), np.float32)
    mirrored = low * alternating if orientation >= 4 else low
    for _ in range(orientation % 4):
        # a quarter turn anticlockwise transposes, then flips up and down
        mirrored = mirrored.transpose(0, 2, 1) * alternating[:, None]
    return mirrored


def _signs(low: Float32) -> Float32:
    """Return the hash as +1 and -1, float32 [N, 63]: above or below the median of all but the mean's frequency."""
    values = low.reshape(len(low), -1)[:, 1:]
    signs: Float32 = np.where(values > np.median(values, axis=1, keepdims=True), 1, -1).astype(np.float32)
    return signs
