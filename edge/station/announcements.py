"""Says at every connection who the station is and whether it is ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edge.alarms import AlarmRule
from edge.messages.writer import MessageWriter
from edge.outbox import OwnTopics
from edge.recipes.loaded import LoadedRecipe
from edge.records import CameraCondition, Grade, Message
from edge.settings import Settings
from edge.station.view import ViewNow
from edge.station.watchdog import notify


class Announcements:
    """The messages of every connection: status, birth and recipe."""

    def __init__(self, messages: MessageWriter, settings: Settings) -> None:
        self.own = OwnTopics(messages.identity.root, settings.line.device)
        self.rules: tuple[AlarmRule, ...] = settings.alarm_rules
        self._messages = messages
        self._status: Literal["starting", "online"] = "starting"
        self._reason = "opening the camera and the model"
        self._lost_told: set[str] = set()
        self._cameras = list(settings.station_cameras)
        self._recipes = list(settings.station_recipes)
        self._classes: list[str] = []
        self._operators = settings.operators
        self._settings = settings
        self._grades: list[Grade] = []
        self._reloaded: list[Message] = []

    def __call__(self) -> list[Message]:
        """Return what is said at every connection."""
        return [*self._now(), *self._reloaded]

    def _now(self) -> list[Message]:
        """Return what is said whenever it changes."""
        return [
            self._messages.status(self._status, self._reason),
            self._messages.birth(
                self._cameras, self._classes, self.rules, self._operators, self._grades, recipes=self._recipes
            ),
            self._messages.recipe(),
        ]

    def adopt(self, settings: Settings) -> None:
        """Take other settings, by which the station judges from now on."""
        self._recipes = list(settings.station_recipes)
        self._settings = settings

    def reloaded(self, message: Message) -> None:
        """Note what was said last of a reload."""
        self._reloaded = [message]

    def in_force(self, recipe: LoadedRecipe) -> list[Message]:
        """Note which recipe is in force, and return what is to be said at once."""
        views = recipe.views.values()
        self._classes = list(dict.fromkeys(entry.name for view in views for entry in view.bundle.classes))
        rows = [row for view in views for row in view.inspect.grades]
        self._grades = list({row.name: Grade(row.name, row.value_factor) for row in rows}.values())
        return self._now()

    def starting(self, reason: str) -> list[Message]:
        """Note why frames are not taken yet, and return what is to be said at once."""
        self._reason = reason
        return self._now()

    def said(self) -> tuple[str, str]:
        """Return the status and its reason, as they were last said."""
        return self._status, self._reason

    def opened(self, *, live: bool) -> list[Message]:
        """Return what is to be said when all is open: a recording is inspected, a camera's first frame is awaited."""
        several = f"cameras {', '.join(self._cameras)}" if len(self._cameras) > 1 else f"camera {self._cameras[0]}"
        return self.starting(f"waiting for the first frame of the {several}") if live else self.ready()

    def of_cameras(self, views: Sequence[ViewNow]) -> list[Message]:
        """Return what is to be said when every camera gives frames, and when one cannot be opened."""
        if self._status == "online":
            return []
        if all(view.ready for view in views):
            notify("STATUS=inspecting")
            return self.ready()
        for view in views:
            state = view.state
            if state is not None and state.condition is CameraCondition.LOST and view.name not in self._lost_told:
                self._lost_told.add(view.name)
                which = "the camera" if len(views) == 1 else f"the camera {view.name}"
                return self.starting(f"{which} is lost: {state.detail}")
        return []

    def ready(self) -> list[Message]:
        """Note that frames are taken from now on, and return what is to be said at once."""
        self._status, self._reason = "online", "inspecting"
        return self._now()
