"""The inspection runtime.

camera → frame → prepared frame → tiles → batch → defect map → measurement → decision → message → outbox → broker
"""

from edge.telemetry import switch_off

__version__ = "0.1.0"

switch_off()
