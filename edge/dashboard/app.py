"""The web application: every screen's routes, logging in and out, language and theme, and our own files."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge.dashboard.collector import Collector
from edge.dashboard.guard import HEADERS, LANGUAGE_COOKIE, SESSION_COOKIE, THEME_COOKIE, THEMES, Guard
from edge.dashboard.pages import FORM_BYTES_AT_MOST, Pages, field, own_path, to, visitor_of
from edge.dashboard.screens import NAV, SCREENS
from edge.dashboard.site import Site
from edge.dashboard.texts import LANGUAGES, has_text
from edge.dashboard.users import ENDS_S, VIEWER_ENDS_S, Access
from edge.errors import LinewatchError

STATIC = Path(__file__).parent / "static"
_YEAR_S = 365 * 86_400


def make_app(site: Site, collector: Collector, access: Access) -> tuple[Starlette, Pages]:
    """Return the application, and the pages that it stands on."""
    pages = Pages(site, collector, access, NAV)
    settings = site.settings
    open_paths = tuple(path for screen in SCREENS for path in screen.open_paths)
    guard = Middleware(
        Guard, access, loopback=settings.listen.loopback, secure=settings.tls is not None, open_paths=open_paths
    )
    desk = _Door(pages, secure=settings.tls is not None)
    routes = [
        *(route for screen in SCREENS for route in screen.routes(pages)),
        Route("/login", desk.login_page),
        Route("/login", desk.log_in, methods=["POST"]),
        Route("/logout", desk.log_out, methods=["POST"]),
        Route("/enter/{token}", desk.enter),
        Route("/language", desk.language),
        Route("/theme", desk.theme),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    failures = {HTTPException: desk.failed, LinewatchError: desk.failed, Exception: desk.failed}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=failures), pages


class _Door:
    """Logging in and out, and what a browser is to remember of its visitor."""

    def __init__(self, pages: Pages, *, secure: bool) -> None:
        self._pages, self._secure = pages, secure

    def login_page(self, request: Request) -> HTMLResponse:
        return self._login(request, own_path(request.query_params.get("back")))

    def _login(self, request: Request, back: str, status: int = 200, **values: object) -> HTMLResponse:
        told: dict[str, object] = {"back": back, "wrong": False, "wait_s": 0, "name": "", **values}
        return self._pages.page(request, "login.html", status, **told)

    async def log_in(self, request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > FORM_BYTES_AT_MOST:
            raise HTTPException(413, "too large")
        form = await request.form(max_files=0, max_fields=10)
        name, back = field(form, "name"), own_path(field(form, "back", 2_000))
        address = visitor_of(request).address
        from starlette.concurrency import run_in_threadpool

        access = self._pages.access
        token, wait_s = await run_in_threadpool(access.log_in, name, field(form, "password"), address)
        if token is None:
            self._pages.note(None, "login", name[:64], outcome="refused", detail=address)
            return self._login(request, back, 429 if wait_s else 403, wrong=True, wait_s=round(wait_s), name=name)
        self._pages.note(None, "login", name, outcome="ok", detail=address)
        return self._remembered(to(back), token)

    def enter(self, request: Request) -> Response:
        """Take a one-time link."""
        token = self._pages.access.enter(request.path_params["token"])
        if token is None:
            return self._login(request, "/", 403, wrong=True)
        self._pages.note(None, "login", "", outcome="ok", detail="one-time link")
        return self._remembered(to("/"), token)

    def _remembered(self, response: Response, token: str) -> Response:
        session = self._pages.access.session(token, acts=True)
        age_s = VIEWER_ENDS_S if session is not None and session.role == "viewer" else ENDS_S
        response.set_cookie(
            SESSION_COOKIE, token, max_age=round(age_s), httponly=True, samesite="strict", secure=self._secure
        )
        return response

    async def log_out(self, request: Request) -> Response:
        await self._pages.form(request, "viewer")
        visitor = visitor_of(request)
        if visitor.token is not None and visitor.session is not None:
            self._pages.access.log_out(visitor.token)
            self._pages.note(None, "logout", visitor.session.user)
        response = to("/")
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=self._secure)
        return response

    def language(self, request: Request) -> Response:
        return self._chosen(request, LANGUAGE_COOKIE, tuple(LANGUAGES))

    def theme(self, request: Request) -> Response:
        return self._chosen(request, THEME_COOKIE, THEMES)

    def _chosen(self, request: Request, cookie: str, known: tuple[str, ...]) -> RedirectResponse:
        chosen = request.query_params.get("to", "")
        response = to(own_path(request.query_params.get("back")))
        if chosen in known:
            response.set_cookie(cookie, chosen, max_age=_YEAR_S, httponly=True, samesite="strict", secure=self._secure)
        return response

    def failed(self, request: Request, error: Exception) -> HTMLResponse:
        """Say what went wrong, never how."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error) if isinstance(error, LinewatchError) else ""
        key = f"base.error_{status}"
        answer = self._pages.page(
            request, "error.html", status, key=key if has_text(key) else "base.error_500", detail=detail
        )
        answer.headers.update(HEADERS)  # an unforeseen error is answered from beyond the guard
        return answer
