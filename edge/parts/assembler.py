"""(state, event, now) → (state, part results): which frames show which part, and what the part comes to. Pure.

A part is a window of time, from its opening to its end, moved by each view's offset. A frame belongs to the youngest
part whose window holds the moment of its capture. It belongs to the part of its shot where the trigger names it. A part
is concluded once every view has judged a frame captured after the window. It is concluded, too, once nothing more can
be waited for. Frames of a view come in the order of their capture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge.parts.rules import PartRules, ViewRule
from edge.records import FrameResult, Judgement, Verdict
from edge.records.parts import (
    Closing,
    FrameLost,
    PartClosed,
    PartOpened,
    PartResult,
    StrayFrame,
    TriggerEvent,
    TriggerFault,
    TriggerTrouble,
    ViewResult,
)
from edge.wording import counted

REMEMBERED_IDS = 1000  # of the last parts; an id is surely told to be repeated within so many
PartEvent = TriggerEvent | FrameResult | FrameLost
Concluded = PartResult | StrayFrame | TriggerTrouble


@dataclass(frozen=True)
class OpenPart:
    """A part that is not concluded. `closes_ns`: its end, None while it is open to frames.

    `rules`: those of its recipe, by which it is concluded even if the station has changed to another. `shot`: the
    number of its triggering, None where its frames are told by their moment.
    """

    number: int
    part_id: str
    repeated: bool
    recipe: str | None
    rules: PartRules
    opened_ns: int
    closes_ns: int | None = None
    closing: Closing = Closing.TRIGGER
    exactly: int | None = None
    shot: int | None = None
    views: Mapping[str, ViewResult] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """All that is remembered between two events.

    `open`: parts in the order of their opening. `number`: of the last part. `ids`, `older_ids`: given before, in two
    generations, so that neither grows for ever. `judged_ns`: per view, up to when its frames are judged.
    """

    open: tuple[OpenPart, ...] = ()
    number: int = 0
    ids: frozenset[str] = frozenset()
    older_ids: frozenset[str] = frozenset()
    judged_ns: Mapping[str, int] = field(default_factory=dict)


def step(
    rules: PartRules,
    parts: Parts,
    event: PartEvent | None,
    now_ns: int,
    *,
    name: str = "part",
    recipe: str | None = None,
    shot: int | None = None,
) -> tuple[Parts, tuple[Concluded, ...]]:
    """Take one event, or None for the passing of time, and return what is concluded by it, in order.

    `rules`, `recipe`: by which a part is judged that is opened now. `now_ns`: the station's clock, never earlier than
    the event. `name`: what numbered ids begin with. `shot`: of a frame, the triggering that it is of.
    """
    told: list[Concluded] = []
    parts = _time_out(parts, now_ns, told)
    if isinstance(event, PartOpened):
        parts = _opened(rules, parts, event, (name, recipe), told)
    elif isinstance(event, PartClosed):
        parts = _closed(parts, event, told)
    elif isinstance(event, FrameResult):
        parts = _judged(parts, event, shot, told)
    elif isinstance(event, FrameLost):
        parts = _lost(parts, event, shot)
    elif isinstance(event, TriggerTrouble):
        told.append(event)
    return _conclude(parts, now_ns, told)


def stop(parts: Parts, now_ns: int) -> tuple[Parts, tuple[PartResult, ...]]:
    """Conclude every part that is still open, since nothing more will come."""
    ended = (replace(part, closes_ns=_end(part, now_ns), closing=_why(part, Closing.STOPPED)) for part in parts.open)
    return replace(parts, open=()), tuple(_result(part, now_ns) for part in ended)


def _opened(
    rules: PartRules, parts: Parts, event: PartOpened, by: tuple[str, str | None], told: list[Concluded]
) -> Parts:
    name, recipe = by
    if event.shot is None and parts.open and event.at_ns < parts.open[-1].opened_ns:
        detail = f"a part was opened {(parts.open[-1].opened_ns - event.at_ns) / 1e6:.0f} ms before the one before it"
        told.append(TriggerTrouble(TriggerFault.GOES_BACK, event.at_ns, detail))
    parts = _ended_before(parts, event, told) if event.alone else parts
    number = parts.number + 1
    part_id = event.part_id or f"{name}-{number}"
    repeated = part_id in parts.ids or part_id in parts.older_ids
    if repeated:
        told.append(TriggerTrouble(TriggerFault.REPEATS_ID, event.at_ns, f"the part id {part_id!r} came before"))
    full = len(parts.ids) >= REMEMBERED_IDS
    parts = replace(parts, ids=frozenset(), older_ids=parts.ids) if full else parts
    still = parts.open
    if len(still) >= rules.most_open:
        crowded = replace(still[0], closes_ns=_end(still[0], event.at_ns), closing=_why(still[0], Closing.CROWDED))
        told.append(
            TriggerTrouble(
                TriggerFault.TOO_MANY_OPEN,
                event.at_ns,
                f"{counted(rules.most_open, 'part was', 'parts were')} open at once",
            )
        )
        told.append(_result(crowded, event.at_ns))
        still = still[1:]
    opened = OpenPart(number, part_id, repeated, event.recipe or recipe, rules, event.at_ns)
    opened = replace(opened, exactly=event.exactly, shot=event.shot)
    return replace(parts, open=(*still, opened), number=number, ids=parts.ids | {part_id})


def _ended_before(parts: Parts, event: PartOpened, told: list[Concluded]) -> Parts:
    """End what is still open to frames: else its end would be taken from this part, and that of this from the next."""
    open_: list[OpenPart] = []
    for part in parts.open:
        if part.closes_ns is None:
            detail = f"the part {part.part_id!r} was not closed before the next one began"
            told.append(TriggerTrouble(TriggerFault.NEVER_CLOSES, event.at_ns, detail))
        open_.append(replace(part, closes_ns=_end(part, event.at_ns), closing=_why(part, Closing.TIMEOUT)))
    return replace(parts, open=tuple(open_))


def _closed(parts: Parts, event: PartClosed, told: list[Concluded]) -> Parts:
    for place, part in enumerate(parts.open):
        its_own = event.part_id in {None, part.part_id} if event.shot is None else event.shot == part.shot
        if part.closes_ns is None and its_own:
            ended = replace(part, closes_ns=max(event.at_ns, part.opened_ns))
            return replace(parts, open=(*parts.open[:place], ended, *parts.open[place + 1 :]))
    if event.shot is not None:  # it has ended already, by its time
        return parts
    which = "no part is open" if event.part_id is None else f"no part {event.part_id!r} is open"
    told.append(TriggerTrouble(TriggerFault.CLOSES_NOTHING, event.at_ns, f"a part was closed, and {which}"))
    return parts


def _judged(parts: Parts, frame: FrameResult, shot: int | None, told: list[Concluded]) -> Parts:
    view = frame.camera
    judged = dict(parts.judged_ns) | {view: max(frame.captured_ns, parts.judged_ns.get(view, frame.captured_ns))}
    parts = replace(parts, judged_ns=judged)
    place = _place(parts.open, view, frame.captured_ns, shot)
    if place is None:
        told.append(StrayFrame(frame, "no part was open when it was captured"))
        return parts
    part = parts.open[place]
    seen = part.views.get(view, ViewResult())
    if _by_another(part, frame):
        return _seen(parts, place, view, replace(seen, misjudged=seen.misjudged + 1))
    return _seen(parts, place, view, _with_frame(seen, frame))


def _with_frame(seen: ViewResult, frame: FrameResult) -> ViewResult:
    """Add a judged frame to what a view has of a part."""
    verdict = frame.judgement.verdict
    return replace(
        seen,
        frames=seen.frames + 1,
        readable=seen.readable + (verdict is not Verdict.NO_READ),
        ng=seen.ng + (verdict is Verdict.NG),
        worst=seen.worst if verdict is Verdict.NO_READ else worse(seen.worst, frame),
        unread=seen.unread or (frame if verdict is Verdict.NO_READ else None),
        judged_ns=(*seen.judged_ns, frame.captured_ns),
    )


def judged_again(rules: PartRules, part: PartResult, frames: Mapping[str, Sequence[FrameResult]]) -> Judgement:
    """Return what a part would have come to by other `rules`, had its `frames` been judged otherwise.

    Frames that were lost to the part, or misjudged, are so by any rules. A view that one of both lacks is left out.
    """
    both = {name: rule for name, rule in rules.views.items() if name in part.views}
    views = {}
    for name in both:
        seen = ViewResult(lost=part.views[name].lost, misjudged=part.views[name].misjudged)
        for frame in frames.get(name, ()):
            seen = _with_frame(seen, frame)
        views[name] = seen
    missing = tuple(name for name, seen in views.items() if _incomplete(seen, both[name], part.exactly))
    return _judgement(both, views, missing, part.exactly)


def _by_another(part: OpenPart, frame: FrameResult) -> bool:
    """Tell whether a frame was judged by another recipe than its part, or by another edition of it."""
    if part.recipe is None or frame.recipe is None:
        return False
    return (frame.recipe, frame.edition) != (part.recipe, part.rules.edition)


def _lost(parts: Parts, event: FrameLost, shot: int | None) -> Parts:
    place = _place(parts.open, event.view, event.at_ns, shot)
    if place is None:
        return parts
    seen = parts.open[place].views.get(event.view, ViewResult())
    return _seen(parts, place, event.view, replace(seen, lost=seen.lost + 1))


def _seen(parts: Parts, place: int, view: str, seen: ViewResult) -> Parts:
    part = parts.open[place]
    moved = replace(part, views={**part.views, view: seen})
    return replace(parts, open=(*parts.open[:place], moved, *parts.open[place + 1 :]))


def _place(parts: Iterable[OpenPart], view: str, captured_ns: int, shot: int | None) -> int | None:
    """Return which part a moment of a view belongs to: that of its shot, or the youngest whose window holds it."""
    found = None
    for place, part in enumerate(parts):
        rule = part.rules.views.get(view)
        if rule is None or (shot is not None and shot != part.shot):
            continue
        if shot is not None:
            return place
        begins, ends = (
            part.opened_ns + rule.offset_ns,
            None if part.closes_ns is None else part.closes_ns + rule.offset_ns,
        )
        if begins <= captured_ns and (ends is None or captured_ns <= ends):
            found = place
    return found


def _time_out(parts: Parts, now_ns: int, told: list[Concluded]) -> Parts:
    open_: list[OpenPart] = []
    for part in parts.open:
        late = part.closes_ns is None and now_ns - part.opened_ns > part.rules.timeout_ns
        if late:
            detail = f"the part {part.part_id!r} was not closed within {part.rules.timeout_ns / 1e6:.0f} ms"
            told.append(TriggerTrouble(TriggerFault.NEVER_CLOSES, part.opened_ns + part.rules.timeout_ns, detail))
        end = replace(part, closes_ns=part.opened_ns + part.rules.timeout_ns, closing=Closing.TIMEOUT) if late else part
        open_.append(end)
    return replace(parts, open=tuple(open_))


def _conclude(parts: Parts, now_ns: int, told: list[Concluded]) -> tuple[Parts, tuple[Concluded, ...]]:
    still = []
    for part in parts.open:
        if part.closes_ns is not None and _complete(parts, part, part.closes_ns, now_ns):
            told.append(_result(part, now_ns))
        else:
            still.append(part)
    return replace(parts, open=tuple(still)), tuple(told)


def _complete(parts: Parts, part: OpenPart, closes_ns: int, now_ns: int) -> bool:
    """Tell whether no further frame of a part can come, or may be waited for."""
    rules = part.rules
    if part.exactly is not None and all(_come(part, view) >= part.exactly for view in rules.views):
        return True
    late = max((rule.offset_ns for rule in rules.views.values()), default=0)
    if now_ns > closes_ns + late + rules.wait_ns:
        return True
    return all(
        parts.judged_ns.get(view, part.opened_ns - 1) > closes_ns + rule.offset_ns for view, rule in rules.views.items()
    )


def _come(part: OpenPart, view: str) -> int:
    return _frames_of(part.views.get(view, ViewResult()))


def _frames_of(seen: ViewResult) -> int:
    return seen.frames + seen.lost + seen.misjudged


def _result(part: OpenPart, now_ns: int) -> PartResult:
    rules = part.rules
    views = {name: part.views.get(name, ViewResult()) for name in rules.views}
    missing = tuple(name for name, seen in views.items() if _incomplete(seen, rules.views[name], part.exactly))
    worst = None
    for seen in views.values():
        if seen.worst is not None:
            worst = worse(worst, seen.worst)
    judgement = _judgement(rules.views, views, missing, part.exactly)
    return PartResult(
        number=part.number,
        part_id=part.part_id,
        repeated=part.repeated,
        recipe=part.recipe,
        opened_ns=part.opened_ns,
        closed_ns=part.opened_ns if part.closes_ns is None else part.closes_ns,
        closing=part.closing,
        judgement=judgement,
        views=views,
        missing_views=missing,
        grade=None if worst is None or judgement.verdict is Verdict.NO_READ else worst.grade,
        models=rules.models,
        decided_ns=now_ns,
        exactly=part.exactly,
    )


def _incomplete(seen: ViewResult, rule: ViewRule, exactly: int | None) -> bool:
    few = exactly is not None and _frames_of(seen) < exactly
    return few or seen.readable < rule.frames or bool(seen.lost or seen.misjudged)


def _judgement(
    rules: Mapping[str, ViewRule], views: Mapping[str, ViewResult], missing: tuple[str, ...], exactly: int | None
) -> Judgement:
    """NG before NO_READ before OK: a defect that was seen stays seen, whatever was not."""
    for name, seen in views.items():
        if seen.ng >= rules[name].ng_frames and seen.worst is not None:
            return Judgement(Verdict.NG, f"{name}: {seen.worst.judgement.reason}")
    for name in missing:
        seen, wanted = views[name], rules[name].frames
        if seen.lost:
            return Judgement(
                Verdict.NO_READ, f"{name}: {counted(seen.lost, 'frame was', 'frames were')} dropped unjudged"
            )
        if seen.misjudged:
            told = counted(seen.misjudged, "frame was", "frames were")
            return Judgement(Verdict.NO_READ, f"{name}: {told} judged by another recipe, which had just changed")
        if seen.readable >= wanted and exactly is not None:
            came = counted(_frames_of(seen), "frame", "frames")
            return Judgement(Verdict.NO_READ, f"{name}: {came} came of {exactly} that its trigger gives")
        told = f"{name}: {seen.readable} readable frames of {wanted}"
        reason = seen.unread.judgement.reason if seen.unread is not None else None
        return Judgement(Verdict.NO_READ, f"{told}; {reason}" if reason else told)
    return Judgement(Verdict.OK, None)


def worse(one: FrameResult | None, other: FrameResult) -> FrameResult:
    """Return the readable frame that speaks for both: NG before OK, then the larger coverage, then the first."""
    if one is None:
        return other
    return other if _badness(other) > _badness(one) else one


def _badness(frame: FrameResult) -> tuple[bool, float, int]:
    seen = frame.measurement
    coverage, count = (0.0, 0) if seen is None else (seen.coverage, len(seen.defects))
    return frame.judgement.verdict is Verdict.NG, coverage, count


def _end(part: OpenPart, at_ns: int) -> int:
    return max(at_ns, part.opened_ns) if part.closes_ns is None else part.closes_ns


def _why(part: OpenPart, why: Closing) -> Closing:
    return why if part.closes_ns is None else part.closing
