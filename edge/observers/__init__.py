"""Observers see decided frames: the preview, and the files of a replay."""
