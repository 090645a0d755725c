"""Zones: shapes on the frame or on the part, the part in each frame, and what is ignored."""
