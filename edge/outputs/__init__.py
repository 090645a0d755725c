"""Signals to and from the machine beside the line. They are no safety function."""
