"""Writes down how a reload goes: a row of the journal and a message for each stage that it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from edge.commands.requests import ReloadFiles
from edge.messages.writer import DiffReport, MessageWriter, ReloadReport
from edge.outbox import Outbox
from edge.recipes.comparing import Diff
from edge.recipes.edition import Edition
from edge.recipes.loaded import model_of
from edge.recipes.reloads import Reload
from edge.records import Message
from edge.records.models import ModelIdentity
from edge.settings import fingerprint

_DETAIL = 500
Stage = Literal["compared", "switched", "done", "rolled_back", "failed", "cancelled"]
_TOLD: Mapping[Stage, str] = {
    "compared": "shadow run",
    "switched": "changed between two parts, and watched",
    "done": "done",
    "rolled_back": "rolled back",
    "failed": "failed",
    "cancelled": "cancelled",
}


class Reporting:
    """Writes into the journal what a reload comes to, and has it said to the broker by `say`."""

    def __init__(self, messages: MessageWriter, outbox: Outbox, say: Callable[[Message], None]) -> None:
        self._messages = messages
        self._outbox = outbox
        self._say = say

    def report(
        self,
        stage: Stage,
        reason: str,
        *,
        asked: ReloadFiles,
        editions: tuple[Edition, Edition | None],
        recipe: str,
        state: Reload,
    ) -> None:
        """Write down a stage. `editions`: the former one, and the new one, None where it could not be read."""
        former, new = editions
        models = _models(former, recipe), {} if new is None else _models(new, recipe)
        entry = self._messages.journal_entry(
            "reload", user=asked.user, comment=asked.comment, detail=_told(stage, reason, models)[:_DETAIL]
        )
        written = ReloadReport(
            stage=stage,
            reason=reason[:_DETAIL],
            recipe=recipe,
            former=models[0],
            new=models[1],
            settings_sha256=None if new is None else fingerprint(new.settings),
            unit="frame" if state.rules.unit == "frame" else "part",
            shadow=_diff(state.shadow),
            watch=_diff(state.watch),
            user=asked.user,
            comment=asked.comment,
        )
        self._outbox.put(None, journal=[entry])
        self._say(self._messages.reload(written))


def _told(stage: Stage, reason: str, models: tuple[Mapping[str, ModelIdentity], Mapping[str, ModelIdentity]]) -> str:
    told = f"{_TOLD[stage]}: {reason}" if reason else _TOLD[stage]
    changes = [
        f"{view} {_model(old)} → {_model(models[1][view])}"
        for view, old in models[0].items()
        if view in models[1] and models[1][view] != old
    ]
    return f"{told}; {', '.join(changes)}" if changes and stage in {"switched", "done"} else told


def _model(model: ModelIdentity) -> str:
    return f"{model.name} {model.version} ({(model.sha256 or 'unknown')[:12]})"


def _models(edition: Edition, recipe: str) -> dict[str, ModelIdentity]:
    entry = edition.settings.station_recipes.get(recipe)
    if entry is None:
        return {}
    return {name: model_of(edition.bundles[view.bundle]) for name, view in entry.views.items()}


def _diff(diff: Diff) -> DiffReport | None:
    if not (diff.compared or diff.skipped or diff.frames):
        return None
    return DiffReport(
        diff.compared,
        diff.skipped,
        [
            {"former": old.value, "new": new.value, "count": count}
            for (old, new), count in sorted(diff.verdicts.items())
        ],
        {name: {"gained": one.gained, "lost": one.lost} for name, one in sorted(diff.classes.items())},
        diff.frames,
        diff.slow,
    )
