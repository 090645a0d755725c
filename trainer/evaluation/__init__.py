"""Figures on whole stitched pictures, and how sure they are."""
