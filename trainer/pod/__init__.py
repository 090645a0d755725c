"""Probability of detection (POD) over the size of a defect, as non-destructive testing states it."""
