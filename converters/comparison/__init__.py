"""Comparisons of a converted model with the original: both are to find the same."""
