"""Whether a converted model finds what the original finds."""
