"""The screens, in one list.

To add one:

1. `screens/NAME.py` has `def routes(pages: Pages) -> list[Route]`. `pages.site` is now, and
   `pages.history.rows(sql, …)` is the past. `pages.page(request, "NAME.html", …)` is a page, and
   `pages.live(request, "NAME.live.html", values)` is its stream. `await pages.form(request, "operator")` gives a form
   that a permitted person sent. `await pages.tell(request, place, command, body)` sends a command and gives the line's
   own answer. Reckoning that needs no web stands in a module of its own.
2. `templates/NAME.html` extends `base.html`, as `station.html` does. The moving part is in `NAME.live.html`. No input
   is: it would lose what somebody types. No inline script or style: the policy forbids them.
3. `texts/NAME.yaml` has each text in all languages side by side; the key in a template is `NAME.key`. `NAME.title` is
   the name of the screen in the head of each page.
4. One line goes into SCREENS, and tables of its own to the end of TABLES in `schema.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.routing import Route

from edge.dashboard.pages import NavEntry, Pages
from edge.dashboard.screens import (
    alarm_performance,
    alarms,
    clips,
    figures,
    health,
    journal,
    live,
    probes,
    rejects,
    shift,
    signals,
    station,
    trial,
    wall,
    what_if,
)
from edge.dashboard.users import Role


@dataclass(frozen=True)
class Screen:
    """One screen. `path`: None = it is in no list. `open_paths`: its paths that answer who has not logged in.

    `role`: who sees it in the list.
    """

    name: str
    path: str | None
    routes: Callable[[Pages], list[Route]]
    open_paths: tuple[str, ...] = ()
    role: Role = "viewer"


SCREENS: tuple[Screen, ...] = (
    Screen("wall", "/wall", wall.routes),
    Screen("station", "/", station.routes),
    Screen("rejects", "/rejects", rejects.routes, ("/peer/evidence/",)),
    Screen("alarms", "/alarms", alarms.routes),
    Screen("clips", None, clips.routes),
    Screen("alarm_performance", "/alarm-performance", alarm_performance.routes),
    Screen("shift", "/shift", shift.routes),
    Screen("what_if", "/what-if", what_if.routes),
    Screen("figures", None, figures.routes),
    Screen("trial", "/try", trial.routes),
    Screen("signals", "/signals", signals.routes, role=signals.ROLE),
    Screen("health", "/health", health.routes),
    Screen("journal", "/journal", journal.routes),
    Screen("live", None, live.routes),
    Screen("probes", None, probes.routes, ("/healthz", "/readyz", "/metrics")),
)
NAV: tuple[NavEntry, ...] = tuple(
    NavEntry(screen.name, screen.path, screen.role) for screen in SCREENS if screen.path is not None
)
