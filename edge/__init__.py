"""The inspection runtime.

camera → frame → prepared frame → tiles → batch → defect map → measurement → decision → message → outbox → broker
"""

__version__ = "0.1.0"
