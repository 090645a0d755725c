"""Epochs and steps: from a network and batches to weights."""
