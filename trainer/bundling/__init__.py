"""Weights → a bundle: thresholds, manifest, and what a device gets."""
