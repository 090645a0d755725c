"""From prepared pixels to a verdict: tiles, inference, measuring, limits, grades."""
