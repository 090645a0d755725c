"""The view of `linewatch watch`: a panel for a terminal, a line for a pipe, from the same picture of a station."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from edge.printable import printable
from edge.wording import counted

_STYLES = {"OK": "bold green", "NG": "bold red", "NO_READ": "bold yellow"}
_LOUD = "bold white on red"
_STATES = {
    "online": ("ONLINE", "bold black on green"),
    "starting": ("STARTING", "bold black on yellow"),
    "waiting": ("WAITING", "bold black on yellow"),
    "stale": ("STALE", _LOUD),
    "offline": ("OFFLINE", _LOUD),
    "unknown": ("UNKNOWN", _LOUD),
    "no_broker": ("NO BROKER", _LOUD),
}
_ALARMS_SHOWN = 8
_SEES = {"running": "running", "no_frame_yet": "between frames"}
_COUNTED = (
    "frames_dropped",
    "results_dropped",
    "dead_letters",
    "connections_lost",
    "commands_refused",
    "resent",
    "taken_over",
    "foreign",
)


def lasting(seconds: float | None) -> str:
    """Write a duration as a person says it: `4 s`, `3 min`, `2 h 5 min`, `3 d 4 h`.

    None is written as a time that is not known.
    """
    if seconds is None:
        return "a time that is not known"
    whole = int(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 5_940:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def panel(picture: Mapping[str, Any]) -> Table:
    """Return the panel. Old figures are grey: only a station that is online now is shown in colours."""
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, words in _rows(picture):
        table.add_row(name, words)
    return table


def line(picture: Mapping[str, Any]) -> str:
    """Return how a station stands, as one line of text without colours."""
    told = [headline(picture)]
    if picture["since_start"] is not None:
        told.append(f"{_verdicts(picture['since_start']).plain} {picture['counted']} since start")
    if picture["last_minute"] is not None:
        told.append(f"{_verdicts(picture['last_minute']).plain} in the last {picture['last_minute_s']:.0f} s")
    if picture["last"] is not None:
        told.append(f"last{'' if picture['believable'] else ' (old)'}: {_last(picture['last'])}")
    shown = [row for row in picture["alarms"] if row["shown"]]
    standing = (f"{row['alarm']} ({row['priority']}, {row['state']} for {lasting(row['age_s'])})" for row in shown)
    alarms = ", ".join(standing)
    told.append(f"alarms: {alarms or ('none' if _knows_alarms(picture) else 'not known')}")
    told.extend(_troubles(picture))
    return printable("; ".join(told))


def headline(picture: Mapping[str, Any]) -> str:
    """Return the first words: how the station stands, for how long, and why."""
    label, _ = _STATES[picture["state"]]
    if picture["state"] == "offline":
        age = picture["status"]["age_s"]
        return f"{label} for {lasting(age)}: {picture['why']}"
    return f"{label}: {picture['why']}"


def _rows(picture: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    believable = picture["believable"]
    _, style = _STATES[picture["state"]]
    yield "station", _plain(_who(picture))
    yield "state", Text(printable(f" {headline(picture)} "), style=style)
    if not believable:
        yield "", Text("What stands below is old, or not known. It is not OK.", style="bold red")
    else:
        yield "", Text(f"last message {picture['silent_s']:g} s ago", style="dim")
    yield from _of_cameras(picture, believable=believable)
    yield from _of_counts(picture, believable=believable)
    yield from _of_alarms(picture)
    yield "broker", _plain(_broker(picture))
    for trouble in _troubles(picture):
        yield "", Text(printable(trouble), style="yellow")
    events = picture["events"]
    if events["last"] is not None and not events["missing"]:
        yield "events", _plain(f"up to number {events['last']}, none is missing")
    counters = picture["counters"]
    seen = [f"{name.replace('_', ' ')} {counters[name]}" for name in _COUNTED if counters.get(name)]
    yield "counters", _plain(", ".join(seen) or "nothing lost, refused or foreign" if counters else "not told yet")


def _who(picture: Mapping[str, Any]) -> str:
    status = picture["status"]
    place = picture["root"].removesuffix("/inspect/v1")
    device = f", device {status['device']}" if status and status["device"] else ""
    recipe = f", recipe {picture['recipe']}" if picture["recipe"] else ""
    return f"{place}{device}{recipe}"


def _of_cameras(picture: Mapping[str, Any], *, believable: bool) -> Iterator[tuple[str, Text]]:
    for camera in picture["cameras"]:
        runs = camera["condition"] in _SEES
        condition = _SEES.get(camera["condition"], camera["condition"])
        told = [f"{camera['name']}: {condition} {camera['detail']}".rstrip()]
        if camera["frames_per_s"] is not None:
            told.append(f"{camera['frames_per_s']:.1f} frames/s")
        if camera["picture_age_ms"] is not None:
            told.append(f"picture {camera['picture_age_ms']:.0f} ms old")
        style = "dim" if not believable else "green" if runs else "bold yellow"
        yield "camera", Text(printable(", ".join(told)), style=style)


def _of_counts(picture: Mapping[str, Any], *, believable: bool) -> Iterator[tuple[str, Text]]:
    if picture["since_start"] is not None:
        counts = _verdicts(picture["since_start"], coloured=believable)
        yield picture["counted"], Text.assemble(counts, " since start")
    if picture["last_minute"] is not None:
        minute = _verdicts(picture["last_minute"], coloured=believable)
        yield "minute", Text.assemble(minute, f" in the last {picture['last_minute_s']:.0f} s")
    last = picture["last"]
    if picture["last_minute"] is None:
        yield "last", Text("results are not listened to (--no-events)", style="dim")
    elif last is None:
        yield "last", Text("no result came yet", style="dim")
    else:
        words = printable(_last(last))
        yield "last", Text(words, style=_STYLES[last["verdict"]]) if believable else Text(f"(old) {words}", style="dim")


def _of_alarms(picture: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    shown = [row for row in picture["alarms"] if row["shown"]]
    for row in shown[:_ALARMS_SHOWN]:
        seen = f" by {row['user']}" if row["user"] else ""
        words = (
            f"{row['priority'].upper()} {row['alarm']}, {row['state']}{seen} for {lasting(row['age_s'])}: {row['text']}"
        )
        yield "ALARM", Text(printable(words), style=_LOUD if row["priority"] == "high" else "bold red")
    if len(shown) > _ALARMS_SHOWN:
        yield "", Text(f"and {counted(len(shown) - _ALARMS_SHOWN, 'more alarm', 'more alarms')}", style="bold red")
    hidden = [row["alarm"] for row in picture["alarms"] if not row["shown"]]
    if hidden:
        yield (
            "aside",
            Text(printable(f"{', '.join(hidden[:_ALARMS_SHOWN])}: shelved, suppressed or out of service"), "dim"),
        )
    if not shown:
        yield "alarms", Text("none stands" if _knows_alarms(picture) else "not known", style="dim")


def _knows_alarms(picture: Mapping[str, Any]) -> bool:
    return picture["state"] not in {"unknown", "no_broker"}


def _last(last: Mapping[str, Any]) -> str:
    which = f"part {last['part_id']}" if last["part_id"] else f"{last['camera'] or 'camera'} frame {last['frame']}"
    told = f"{last['verdict']} {which}, {lasting(last['s_ago'])} ago"
    if last["challenge"]:
        told += ", of a challenge"
    if last["reason"]:
        told += f": {last['reason']}"
    return told + (f" (missing: {', '.join(last['missing_views'])})" if last["missing_views"] else "")


def _broker(picture: Mapping[str, Any]) -> str:
    broker, station, outbox = picture["broker"], picture["station_broker"], picture["outbox"]
    here = "connected" if broker["connected"] else "not connected"
    told = f"{broker['address']}, {here}"
    if outbox["pending"] is not None:
        there = "" if station["connected"] else ", not connected"
        told += f"; the station{there}: {counted(outbox['pending'], 'message waits', 'messages wait')}"
    return told


def _troubles(picture: Mapping[str, Any]) -> Iterator[str]:
    """Yield what else is wrong, in words."""
    for topic, reason in picture["broker"]["not_heard"].items():
        yield f"not heard: {topic}: {reason}"
    outbox, events = picture["outbox"], picture["events"]
    if outbox["trouble"]:
        yield f"the station's disk: {outbox['trouble']}"
    if outbox["dead_letters"]:
        yield f"{counted(outbox['dead_letters'], 'dead letter')}, refused by the broker"
    if picture["station_broker"]["trouble"]:
        yield f"the station says: {picture['station_broker']['trouble']}"
    if events["missing"]:
        gaps = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in events["gaps"])
        which = f": {gaps}" if gaps else ""
        waits = f"; {outbox['pending']} wait in the station's outbox" if outbox["pending"] else ""
        hint = "" if events["came"] or outbox["pending"] else "; none came at all: may this account read event/+?"
        yield f"{counted(events['missing'], 'event has', 'events have')} not come{which}{waits}{hint}"
    if events["new_stores"]:
        yield f"the station began {counted(events['new_stores'], 'new store')} while it was watched"
    for what, count in picture["skipped"].items():
        yield f"{counted(count, 'message')} not shown: {what}"


def _verdicts(counts: Mapping[str, int | None], *, coloured: bool = True) -> Text:
    parts: list[Any] = []
    for name, count in counts.items():
        told = f"{'?' if count is None else count} {name}"
        parts += [", "] * bool(parts) + [(told, _STYLES[name] if coloured else "dim")]
    return Text.assemble(*parts)


def _plain(words: str) -> Text:
    return Text(printable(words))
