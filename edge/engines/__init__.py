"""Inference backends, one per file; each imports its vendor only when it is opened."""
