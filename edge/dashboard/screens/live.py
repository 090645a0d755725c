"""The live picture of a camera: a page of its own, so that a station draws pictures only while somebody looks at it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from edge.dashboard.live_pictures import pictures
from edge.dashboard.pages import Pages

BOUNDARY = "linewatch-picture"
WATCHERS_AT_MOST = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Live(pages)
    return [
        Route("/watch/{camera}/{place:path}", screen.page),
        Route("/live/watch/{place:path}", screen.state),
        Route("/pictures/{camera}/{place:path}", screen.pictures),
    ]


class _Live:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._watchers = 0

    def page(self, request: Request) -> HTMLResponse:
        place, camera = self._pages.place(request), _camera(request)
        where = self._pages.site.settings.live.get(place)
        values = {"camera": camera, "served": where is not None, **self._values(place)}
        return self._pages.page(request, "live.html", **values)

    def state(self, request: Request) -> StreamingResponse:
        place = self._pages.place(request)
        return self._pages.live(request, "live.live.html", lambda: self._values(place))

    def pictures(self, request: Request) -> StreamingResponse:
        """Pass the station's pictures on, until the visitor leaves or may no longer look."""
        place, camera = self._pages.place(request), _camera(request)
        where = self._pages.site.settings.live.get(place)
        if where is None:
            raise HTTPException(404, "no live pictures")
        if self._watchers >= WATCHERS_AT_MOST:
            raise HTTPException(503, "too many watch")
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(self._stream(request, where, camera), 200, {"Cache-Control": "no-store"}, kind)

    async def _stream(self, request: Request, where: str, camera: str) -> AsyncIterator[bytes]:
        self._watchers += 1
        try:
            yield f"--{BOUNDARY}\r\n".encode()
            async with aclosing(pictures(where, camera)) as found:
                async for one in found:
                    if self._pages.stopping.is_set() or self._pages.ended(request):
                        return
                    jpeg = one if isinstance(one, bytes) else await run_in_threadpool(_card, camera, one)
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    # the boundary at once: a browser shows a picture when it knows that it is over
                    yield head.encode() + jpeg + f"\r\n--{BOUNDARY}\r\n".encode()
        finally:
            self._watchers -= 1

    def _values(self, place: str) -> dict[str, Any]:
        site = self._pages.site
        return {
            "place": place,
            "told": site.picture_of(place),
        }


def _camera(request: Request) -> str:
    camera = str(request.path_params["camera"])
    if _NAME.fullmatch(camera) is None:
        raise HTTPException(404, "no such camera")
    return camera


def _card(camera: str, why: str) -> bytes:
    from edge.observers.live_picture import card

    return card(camera, None, why)
