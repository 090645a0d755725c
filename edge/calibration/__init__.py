"""Cameras calibrated: targets, lens and plane from their pictures, the file that keeps them, and whether it holds."""
