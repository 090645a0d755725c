"""How small a defect is found: probability of detection (POD) over size, as non-destructive testing states it."""
