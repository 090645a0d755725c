"""The alarm model: states as a table, conditions, delays, what suppresses what, and what survives a restart. Pure."""

from edge.alarms.conditions import measure_of
from edge.alarms.delays import AlarmPhase, Band, Delays, delay
from edge.alarms.manager import AlarmManager, Decision
from edge.alarms.memory import Moment, recall, remember
from edge.alarms.model import AlarmState, By, Shelf
from edge.alarms.rules import CAMERA_ALARMS, FLOOD_ALARM, NO_READ_ALARM, AlarmRule, alarm_rules
from edge.alarms.states import Condition, Service, Shelving, Suppression

__all__ = [
    "CAMERA_ALARMS",
    "FLOOD_ALARM",
    "NO_READ_ALARM",
    "AlarmManager",
    "AlarmPhase",
    "AlarmRule",
    "AlarmState",
    "Band",
    "By",
    "Condition",
    "Decision",
    "Delays",
    "Moment",
    "Service",
    "Shelf",
    "Shelving",
    "Suppression",
    "alarm_rules",
    "delay",
    "measure_of",
    "recall",
    "remember",
]
