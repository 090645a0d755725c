"""Recordings of a station's cameras: the very pixels that they gave, when, and with which settings."""
