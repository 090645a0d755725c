"""The guard before every page: who asks, whether they may, and headers that keep a browser to our own files."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.dashboard.pages import Visitor
from edge.dashboard.texts import language_of
from edge.dashboard.users import Access

SESSION_COOKIE, LANGUAGE_COOKIE, THEME_COOKIE = "linewatch_session", "linewatch_language", "linewatch_theme"
THEMES = ("auto", "light", "dark")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# These answer who has not logged in.
_OPEN = ("/static/", "/login", "/enter/", "/language", "/theme")


class Guard:
    """ASGI middleware. `open_paths`: more paths that answer anybody. `loopback`, `secure`: how the pages are served."""

    def __init__(
        self, app: ASGIApp, access: Access, *, loopback: bool, secure: bool, open_paths: tuple[str, ...] = ()
    ) -> None:
        self._app, self._access = app, access
        self._loopback, self._secure = loopback, secure
        self._open = (*_OPEN, *open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on with its visitor."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope.setdefault("state", {})["visitor"] = visitor = self._visitor(scope, headers)
        refusal = self._refusal(scope, headers, visitor)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    sent.setdefault(name, value)
                if self._secure:
                    sent.setdefault("Strict-Transport-Security", "max-age=31536000")
                sent.setdefault("Cache-Control", "no-store")
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, send_safely)

    def _visitor(self, scope: Scope, headers: Headers) -> Visitor:
        cookies = _cookies(headers.get("cookie", ""))
        token = cookies.get(SESSION_COOKIE)
        acts = not scope["path"].startswith(("/live/", "/static/", "/picture/"))
        theme = cookies.get(THEME_COOKIE, "")
        return Visitor(
            self._access.session(token, acts=acts),
            token,
            language_of(cookies.get(LANGUAGE_COOKIE), headers.get("accept-language")),
            theme if theme in THEMES else "auto",
            (scope.get("client") or ("?", 0))[0],
        )

    def _refusal(self, scope: Scope, headers: Headers, visitor: Visitor) -> Response | None:
        """Say no where no page is to be asked."""
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._loopback and name.lower() not in _LOOPBACK_NAMES:
            # else a page of somebody else's could be read through a name that leads here
            return PlainTextResponse("This address is not one of this dashboard's", 421)
        if scope["method"] not in {"GET", "HEAD"}:
            origin = headers.get("origin")
            fetched = headers.get("sec-fetch-site", "same-origin")
            if fetched not in {"same-origin", "none"} or (origin is not None and urlsplit(origin).netloc != host):
                return PlainTextResponse("A form of another site is not taken", 403)
        path = scope["path"]
        if visitor.session is None and self._access.has_users and not path.startswith(self._open):
            if path.startswith("/live/") or headers.get("hx-request"):
                return PlainTextResponse("Log in", 401)
            query = scope.get("query_string", b"").decode("latin-1")
            back = path + (f"?{query}" if query else "")
            return RedirectResponse(f"/login?back={quote(back)}", 303)
        return None


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header[:8_000]).items()}
    except CookieError:
        return {}
