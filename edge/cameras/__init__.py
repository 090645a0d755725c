"""Sources of frames, one kind per file."""
