"""A crop under other light and another lens: blur, gamma, contrast, brightness, a gradient, noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8
from trainer.recipe.settings import AugmentationSettings

_LEAST_BLUR_PX = 0.3
_POOL = 2**22


@dataclass(frozen=True)
class Light:
    """One drawing of the light: factors, grey levels and px; angles in radians. Nothing of it moves a pixel."""

    contrast: float
    brightness: float
    noise: float = 0.0
    gamma: float = 1.0
    gradient: float = 0.0
    gradient_angle: float = 0.0
    defocus_px: float = 0.0
    motion_px: float = 0.0
    motion_angle: float = 0.0
    inverted: bool = False


def draw_light(settings: AugmentationSettings, generator: np.random.Generator) -> Light:
    """Draw within the settings' ranges. An option that is off draws nothing, so that older recipes draw as they did."""
    contrast = float(np.exp(generator.uniform(-1, 1) * np.log(settings.contrast)))
    brightness = generator.uniform(-1, 1) * settings.brightness
    noise = generator.uniform(0, settings.noise) if settings.noise else 0.0
    gamma = float(np.exp(generator.uniform(-1, 1) * np.log(settings.gamma))) if settings.gamma > 1 else 1.0
    gradient = generator.uniform(0, settings.light_gradient) if settings.light_gradient else 0.0
    gradient_angle = generator.uniform(0, 2 * np.pi) if settings.light_gradient else 0.0
    defocus_px = generator.uniform(0, settings.defocus_px) if settings.defocus_px else 0.0
    motion_px = generator.uniform(0, settings.motion_px) if settings.motion_px else 0.0
    motion_angle = generator.uniform(0, np.pi) if settings.motion_px else 0.0
    inverted = bool(settings.invert_share) and generator.random() < settings.invert_share
    return Light(
        contrast, brightness, noise, gamma, gradient, gradient_angle, defocus_px, motion_px, motion_angle, inverted
    )


def apply_light(pixels: UInt8, light: Light, generator: np.random.Generator) -> Float32:
    """Apply to uint8 [S, S, C]; return float32 within 0-255.

    A negative is taken first. Then come these, in the order of nature. The lens blurs. The light and the sensor's curve
    scale (gamma, then contrast about black, brightness and gradient). The sensor adds noise, which `generator` draws.
    """
    blurred = _blurred(pixels, light)
    levels = np.arange(256, dtype=np.float32)
    if light.inverted:  # before or after a blur is the same
        levels = np.float32(255) - levels
    if light.gamma != 1:
        levels = np.float32(255) * (levels / np.float32(255)) ** np.float32(light.gamma)
    table = levels * np.float32(light.contrast) + np.float32(light.brightness)
    disturbed: Float32 = cv2.LUT(blurred, table).reshape(pixels.shape)
    if light.gradient:
        disturbed += _gradient(pixels.shape[:2], light)[:, :, None]
    if light.noise:
        disturbed += np.float32(light.noise) * _normal(pixels.shape, generator)
    np.clip(disturbed, 0, 255, out=disturbed)
    return disturbed


def disturb(pixels: UInt8, settings: AugmentationSettings, generator: np.random.Generator) -> Float32:
    """Draw light and apply it to uint8 [S, S, C]; return float32 within 0-255."""
    return apply_light(pixels, draw_light(settings, generator), generator)


@cache
def _pool() -> Float32:
    pool: Float32 = np.random.default_rng(0).standard_normal(_POOL, dtype=np.float32)
    return pool


def _normal(shape: tuple[int, ...], generator: np.random.Generator) -> Float32:
    """Return standard normal noise: a stretch of a fixed pool, from a drawn place on, forwards or backwards.

    To draw it anew took half of the time of a crop.
    """
    count = int(np.prod(shape))
    if count > _POOL // 4:
        return generator.standard_normal(shape, dtype=np.float32)
    start = int(generator.integers(_POOL - count))
    stretch = _pool()[start : start + count]
    return (stretch if generator.random() < 0.5 else stretch[::-1]).reshape(shape)


def _blurred(pixels: UInt8, light: Light) -> UInt8:
    if light.defocus_px > _LEAST_BLUR_PX:
        pixels = cv2.GaussianBlur(pixels, (0, 0), light.defocus_px, borderType=cv2.BORDER_REFLECT_101)
    if light.motion_px > 1:
        kernel = motion_kernel(light.motion_px, light.motion_angle)
        pixels = cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return pixels


def motion_kernel(length_px: float, angle: float) -> Float32:
    """Return the weights of a line through the middle of an odd square, float32, sum 1: they move nothing."""
    half = int(np.ceil(length_px / 2))
    kernel: Float32 = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    # points along the line, and their opposites, so that the kernel is symmetric to the bit
    steps = np.linspace(-length_px / 2, length_px / 2, 8 * half + 1)
    x, y = np.rint(half + steps * np.cos(angle)).astype(int), np.rint(half + steps * np.sin(angle)).astype(int)
    np.add.at(kernel, (y, x), 1.0)
    kernel += kernel[::-1, ::-1]
    kernel /= kernel.sum()
    return kernel


def _gradient(shape: tuple[int, ...], light: Light) -> Float32:
    """Return a plane that goes from -gradient to +gradient across the crop, float32 [S, S]."""
    height, width = shape
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(light.gradient_angle))
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(np.sin(light.gradient_angle))
    reach = np.float32(abs(np.cos(light.gradient_angle)) + abs(np.sin(light.gradient_angle)))
    plane: Float32 = (y[:, None] + x[None, :]) * (np.float32(light.gradient) / reach)
    return plane
