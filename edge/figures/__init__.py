"""Figures of what was inspected: of shifts, of alarms, and of what other limits would come to. Pure; time comes in."""
