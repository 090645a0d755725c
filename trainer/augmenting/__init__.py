"""Crops, drawn at random and disturbed: geometry → pasting → light → cut-outs; the truth goes with the pixels.

One affine transform carries all of geometry, so that pixels are resampled only once.
"""

from trainer.augmenting.geometry import crop_transform, warp
from trainer.augmenting.light import disturb
from trainer.augmenting.sampling import CropBatch, CropSampler

__all__ = ["CropBatch", "CropSampler", "crop_transform", "disturb", "warp"]
