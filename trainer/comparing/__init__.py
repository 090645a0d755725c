"""Recipes side by side: every combination of a grid, each seed and each fold trained and judged, in one table."""
