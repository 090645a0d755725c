"""Measure the time from a verdict to the machine, and how exact a pulse is."""
