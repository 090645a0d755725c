"""The value that an alarm watches, as a number, or None where it cannot be known just now."""

from __future__ import annotations

from collections.abc import Callable

from edge.alarms.rules import OF_FAULTS, OF_FRAMES, AlarmRule
from edge.records import Defect, DeliveryState, FrameResult, Measurement, Verdict
from edge.records.interventions import StationTroubles
from edge.records.parts import Closing, PartResult, TriggerTrouble


def concerns(rule: AlarmRule, result: FrameResult | PartResult | TriggerTrouble) -> bool:
    """Tell whether a rule is about such a result: of a frame or of a part, and of this camera; or about the trigger."""
    if rule.measure == "trigger":
        return not isinstance(result, FrameResult)
    if isinstance(result, TriggerTrouble) or rule.measure not in OF_FRAMES:
        return False
    if isinstance(result, PartResult):
        return rule.per == "part"
    return rule.per != "part" and (not rule.cameras or result.view in rule.cameras)


def measure_of_trigger(result: PartResult | TriggerTrouble) -> float:
    """Return 1 for what no part can do, and for a part that came of it; else 0."""
    if isinstance(result, TriggerTrouble):
        return 1.0
    return float(result.repeated or result.closing in {Closing.TIMEOUT, Closing.CROWDED})


def measure_of_part(rule: AlarmRule, part: PartResult) -> float | None:
    """Return the value that `rule` watches of a part: the largest of its views', each shown by its worst frame.

    Of a part that is NO_READ nothing but that is known.
    """
    if rule.measure == "no_read":
        return float(part.judgement.verdict is Verdict.NO_READ)
    if part.judgement.verdict is Verdict.NO_READ:
        return None
    if rule.measure == "ng" and not rule.cameras:
        return float(part.judgement.verdict is Verdict.NG)
    if rule.measure == "grade":
        return None if part.grade is None else float(part.grade.name in rule.grades)
    shown = [seen.worst for view, seen in part.views.items() if not rule.cameras or view in rule.cameras]
    values = [measure_of(rule, worst) for worst in shown if worst is not None]
    return max((value for value in values if value is not None), default=None)


def measure_of(rule: AlarmRule, inspection: FrameResult) -> float | None:
    """Return the value that `rule`, which is about frames, watches, or None where the inspection cannot know it.

    Of a frame that could not be read two things are known: NO_READ, and the fault of the camera. A class that the model
    lacks is never known.
    """
    if rule.measure == "no_read":
        return float(inspection.judgement.verdict is Verdict.NO_READ)
    if rule.measure in OF_FAULTS:
        return _of_fault(rule, inspection)
    if inspection.measurement is None:
        return None
    if rule.measure == "ng":
        return float(inspection.judgement.verdict is Verdict.NG)
    if rule.measure == "grade":
        return None if inspection.grade is None else float(inspection.grade.name in rule.grades)
    measurement = inspection.measurement if rule.zone is None else inspection.zones.get(rule.zone)
    return None if measurement is None else _of_surface(rule, measurement)


def _of_fault(rule: AlarmRule, inspection: FrameResult) -> float | None:
    """Return whether camera or engine show one of the rule's faults. A frame that no engine got tells nothing of it."""
    if rule.measure == "camera":
        return float(inspection.camera_fault in rule.camera)
    if inspection.engine_fault is None and inspection.measurement is None:
        return None
    return float(inspection.engine_fault in rule.engine)


def _of_surface(rule: AlarmRule, measurement: Measurement) -> float | None:
    if rule.measure == "area_mm2":
        return _largest(rule, measurement, lambda defect: defect.area_mm2)
    if rule.measure == "length_mm":
        return _largest(rule, measurement, lambda defect: defect.length_mm)
    if rule.class_name is not None:
        seen = measurement.classes.get(rule.class_name)
        if seen is None:
            return None
        return seen.coverage if rule.measure == "coverage" else float(seen.count)
    return measurement.coverage if rule.measure == "coverage" else float(len(measurement.defects))


def _largest(rule: AlarmRule, measurement: Measurement, side: Callable[[Defect], float | None]) -> float | None:
    """Return the largest size in mm, or None where a defect's size is not known for want of a calibration."""
    if rule.class_name is not None and rule.class_name not in measurement.classes:
        return None
    sizes = [side(defect) for defect in measurement.defects if rule.class_name in {None, defect.class_name}]
    known = [size for size in sizes if size is not None]
    return max(known, default=0.0) if len(known) == len(sizes) else None


def why_of(rule: AlarmRule, inspection: FrameResult | PartResult | TriggerTrouble) -> str:
    """Say the reason of the value that `rule`, which is about frames, watches, as far as the inspection knows."""
    if isinstance(inspection, TriggerTrouble):
        return inspection.detail
    about_reading = rule.measure in {*OF_FAULTS, "no_read"} and inspection.judgement.verdict is Verdict.NO_READ
    return (inspection.judgement.reason or "") if about_reading else ""


def delivery_why_of(rule: AlarmRule, delivery: DeliveryState) -> str:
    """Say what troubles delivery, of what `rule` watches."""
    return "; ".join(told for trouble in rule.delivery if (told := getattr(delivery, trouble)))


def delivery_measure_of(rule: AlarmRule, delivery: DeliveryState) -> float:
    """Return the value that `rule`, which is about delivery, watches."""
    if rule.measure == "queue_age_ms":
        return delivery.oldest_s * 1000
    return float(any(getattr(delivery, trouble) is not None for trouble in rule.delivery))


def station_why_of(rule: AlarmRule, troubles: StationTroubles) -> str:
    """Say what is wrong with the inspection, of what `rule` watches."""
    return "; ".join(told for trouble in rule.station if (told := getattr(troubles, trouble)))


def station_measure_of(rule: AlarmRule, troubles: StationTroubles) -> float:
    """Return the value that `rule`, which is about the inspection itself, watches."""
    return float(any(getattr(troubles, trouble) is not None for trouble in rule.station))
