"""The base of every screen: templates, the visitor of a request, live streams, forms, and commands to a line."""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, StreamingResponse

from edge import __version__
from edge.dashboard.collector import Answered, Collector
from edge.dashboard.counting import Tallies
from edge.dashboard.evidence_sources import evidence_sources
from edge.dashboard.history import History
from edge.dashboard.records import JournalRow
from edge.dashboard.site import Site
from edge.dashboard.texts import LANGUAGES, has_text, text
from edge.dashboard.users import Access, Role, Session
from edge.inspection.trying import Tries
from edge.printable import printable

HERE = Path(__file__).parent
TICK_S = 2.0
STREAMS_AT_MOST = 100
FORM_BYTES_AT_MOST = 16_384
_STEP_S = 0.1
_CALM = 4  # a page that is drawn on each change rests so many times the processor time of its drawing
# The subject of a command, for the journal.
_SUBJECTS = ("alarm", "recipe", "occurrence_id", "part_id", "signal")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@dataclass(frozen=True)
class Visitor:
    """The person who asks, and their taste in pages. `session`: None for who did not log in. `address`: where from."""

    session: Session | None
    token: str | None
    language: str
    theme: str
    address: str

    def may(self, role: Role) -> bool:
        """Tell whether they may do what this role may. A person who did not log in may look at most."""
        return role == "viewer" if self.session is None else self.session.may(role)


@dataclass(frozen=True)
class NavEntry:
    """One screen in the head of each page, for who may see it. Without users everybody may look."""

    name: str
    path: str
    role: Role = "viewer"


class Pages:
    """Given to every screen. `site`: the stations now, `history`: what was, `evidence`: its pictures.

    `tell` gives a command to a station.
    """

    def __init__(self, site: Site, collector: Collector, access: Access, nav: Sequence[NavEntry]) -> None:
        self.site, self.access, self.nav = site, access, tuple(nav)
        self.history: History = site.history
        self.tallies = Tallies(site.history, site.monotonic_ns)
        self.stopping = threading.Event()
        self.evidence = evidence_sources(site.settings.evidence, site.settings.evidence_key_file)
        self.tries: Tries | None = None  # the inspector of pictures; None = nobody
        self.streams = 0
        self.tick_s = TICK_S
        self._collector = collector
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printed,
        )

    @property
    def collecting(self) -> bool:
        """Tell whether the thread is there that hears stations."""
        return self._collector.moves

    # --- pages

    def render(self, request: Request, template: str, **values: Any) -> str:
        """Return a template filled in. Beside `values` it has what `_common` gives."""
        return self._environment.get_template(template).render({**self._common(request), **values})

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page."""
        return HTMLResponse(self.render(request, template, **values), status)

    def station_page(self, request: Request, template: str, values: Callable[[str], Mapping[str, Any]]) -> HTMLResponse:
        """Return a page about the station that is asked for; one that says so where none is known yet.

        `values`: of a place, beside `place` itself. Raises HTTPException 404 for a station that is not known.
        """
        if not self.site.places():
            return self.page(request, "nobody.html")
        place = self.place(request)
        return self.page(request, template, **{"place": place, **values(place)})

    def station_live(
        self, request: Request, template: str, values: Callable[[str], Mapping[str, Any]]
    ) -> StreamingResponse:
        """Return the stream of such a page. Raises HTTPException 404, and 503 as `live` does."""
        place = self.place(request)
        return self.live(
            request,
            template,
            lambda: {"place": place, **values(place)},
            alarms=lambda: self.site.alarm_changes(place),
        )

    def live(
        self,
        request: Request,
        template: str,
        values: Callable[[], Mapping[str, Any]],
        *,
        alarms: Callable[[], int] = int,
    ) -> StreamingResponse:
        """Return a stream that gives a part of a page whole, at once and again at each change.

        It looks every TICK_S, and at once when `alarms` gives another number. Then an event `tick` says that the link
        is there, and `ended` that the visitor must log in again. At most STREAMS_AT_MOST are open. Raises
        HTTPException 503 for more.
        """
        if self.streams >= STREAMS_AT_MOST:
            raise HTTPException(503, "too many pages are open")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(request, template, values, alarms), 200, headers, "text/event-stream")

    async def _stream(
        self,
        request: Request,
        template: str,
        values: Callable[[], Mapping[str, Any]],
        alarms: Callable[[], int],
    ) -> AsyncIterator[str]:
        self.streams += 1
        try:
            said = ""
            while not self.stopping.is_set():
                if self.ended(request):
                    yield "event: ended\ndata: \n\n"
                    return
                known = alarms()
                html, cost_s = await run_in_threadpool(self._drawn, request, template, values)
                drawn_s = time.monotonic()
                if html != said:
                    yield "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
                    said = html
                yield f"event: tick\ndata: {round(time.time() * 1000)}\n\n"
                rests_until_s = drawn_s + _CALM * cost_s
                while not self.stopping.is_set() and (now_s := time.monotonic()) < drawn_s + self.tick_s:
                    if now_s >= rests_until_s and alarms() != known:
                        break
                    await asyncio.sleep(_STEP_S)
        finally:
            self.streams -= 1

    def _drawn(self, request: Request, template: str, values: Callable[[], Mapping[str, Any]]) -> tuple[str, float]:
        """Return a part of a page, and what it cost of the processor, s: to wait for a turn on it costs nothing."""
        begun_s = time.thread_time()
        return self.render(request, template, **values()), time.thread_time() - begun_s

    def ended(self, request: Request) -> bool:
        """Tell whether a visitor must log in again before anything more is shown."""
        visitor = visitor_of(request)
        session = self.access.session(visitor.token, acts=False)
        changed = (session and session.role) != (visitor.session and visitor.session.role)
        return changed or (session is None and self.access.has_users)

    def _common(self, request: Request) -> dict[str, Any]:
        visitor = visitor_of(request)

        def t(key: str, **values: Any) -> str:
            return text(visitor.language, key, **values)

        def word(group: str, value: object) -> str:
            key = f"{group}_{value}"
            return t(key) if has_text(key) else str(value)

        return {
            "t": t,
            "word": word,
            "age": lambda seconds: _age(t, seconds),
            "clock": self.clock,
            "now_ms": self.site.now_ms,
            "visitor": visitor,
            "session": visitor.session,
            "csrf": "" if visitor.session is None else visitor.session.csrf,
            "may": visitor.may,
            "nav": self.nav,
            "languages": LANGUAGES,
            "path": request.url.path,
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "version": __version__,
            "has_users": self.access.has_users,
            "broker_trouble": self.site.broker_trouble,
            "history_trouble": self.history.trouble,
            "places": self.site.places(),
            "place_url": quote,
        }

    def clock(self, ms: float | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Write a moment, ms since 1970, as the clock on the site's wall shows it."""
        if ms is None:
            return ""
        zone = self.site.settings.shift_plan.zone
        return datetime.fromtimestamp(ms / 1000, timezone.utc).astimezone(zone).strftime(pattern)

    # --- stations

    def place(self, request: Request) -> str:
        """Return the station that a path names, or the first one. Raises HTTPException 404 for one not known."""
        named = request.path_params.get("place") or request.query_params.get("place")
        if named is None:
            places = self.site.places()
            if not places:
                raise HTTPException(404, "no station")
            return places[0]
        if not self.site.knows(named):
            raise HTTPException(404, "no such station")
        return str(named)

    async def tell(self, request: Request, place: str, command: str, body: dict[str, Any]) -> Answered:
        """Give a command to a station in the visitor's name, write it down, and return the line's own answer."""
        user = user_of(request)
        answer = await asyncio.wrap_future(self._collector.tell(place, command, {**body, "user": user}))
        subject = next(
            (str(body[key]) for key in ("alarm", "recipe", "occurrence_id", "part_id", "signal") if body.get(key)), ""
        )
        detail = " ".join(
            each for each in (str(body.get("comment") or body.get("reason") or ""), answer.detail) if each
        )
        self.note(place, f"command-{command}", user, subject, outcome=answer.outcome, detail=detail)
        return answer

    def note(
        self, place: str | None, kind: str, user: str, subject: str = "", *, outcome: str = "", detail: str = ""
    ) -> None:
        """Write a row into the journal of the web process."""
        self.history.put(JournalRow(place, self.site.now_ms, kind, user, subject[:200], outcome, detail[:1000]))

    # --- forms

    async def form(
        self, request: Request, role: Role, bytes_at_most: int = FORM_BYTES_AT_MOST, files: int = 0
    ) -> FormData:
        """Read a form of somebody who may do this. Raises HTTPException 403 without role or token, 413 for too much."""
        visitor = visitor_of(request)
        if visitor.session is None or not visitor.session.may(role):
            raise HTTPException(403, "role")
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > bytes_at_most:
            raise HTTPException(413, "too large")
        form = await request.form(max_files=files, max_fields=50)
        if not hmac.compare_digest(field(form, "csrf").encode(), visitor.session.csrf.encode()):
            await form.close()
            raise HTTPException(403, "csrf")
        return form


def field(form: FormData, name: str, at_most: int = 500) -> str:
    """Return a field of a form as text; nothing where it is absent, a file, or longer than `at_most`."""
    value = form.get(name)
    return "" if value is None or isinstance(value, UploadFile) or len(value) > at_most else value


def visitor_of(request: Request) -> Visitor:
    """Return who asks; the guard has found out."""
    visitor: Visitor = request.state.visitor
    return visitor


def user_of(request: Request) -> str:
    """Return the name of who has logged in. Raises HTTPException 403 for who has not."""
    session = visitor_of(request).session
    if session is None:
        raise HTTPException(403, "role")
    return session.user


def to(path: str) -> RedirectResponse:
    """Return a redirection to a page of ours, after a form."""
    return RedirectResponse(path, 303)


def own_path(given: str | None) -> str:
    """Return a path to come back to, or the first page for what leads anywhere else."""
    given = given or "/"
    parts = urlsplit(given)
    safe = given.startswith("/") and not given.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return given if safe and given.isprintable() and len(given) < 2_000 else "/"


def _printed(value: Any) -> Any:
    """Make text from outside printable: no override of direction, no control character."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _age(t: Callable[..., str], seconds: float | None) -> str:
    if seconds is None:
        return t("base.age_unknown")
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S)):
        if seconds >= 2 * size:
            return t(f"base.age_{unit}", n=int(seconds // size))
    return t("base.age_s", n=f"{seconds:.0f}")
