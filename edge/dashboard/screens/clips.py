"""Clips around alarms: a list, a page that plays one, and the file itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.dashboard.clips import clips_of, pictures_of, seconds_each
from edge.dashboard.evidence_sources import LocalEvidence, NoEvidenceError
from edge.dashboard.pages import Pages

PLAYERS_AT_MOST = 8
_BOUNDARY = "linewatch-clip"


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Clips(pages)
    return [
        Route("/clips", screen.page),
        Route("/clips/{name}/{view}.avi", screen.file),
        Route("/clips/{name}/{view}/play", screen.play),
        Route("/clips/{name}/{view}", screen.one),
    ]


class _Clips:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._players = 0

    def _source(self, place: str) -> LocalEvidence:
        source = self._pages.evidence.source(place)
        if not isinstance(source, LocalEvidence):
            raise NoEvidenceError("These clips are at another dashboard. Look at them there")
        return source

    def page(self, request: Request) -> HTMLResponse:
        alarm = request.query_params.get("alarm", "")[:64]
        return self._pages.station_page(request, "clips.html", lambda place: self._values(place, alarm))

    def _values(self, place: str, alarm: str) -> dict[str, Any]:
        found, why = [], ""
        try:
            found = clips_of(self._source(place), alarm)
        except NoEvidenceError as error:
            why = str(error)
        return {"alarm": alarm, "rows": [(clip, _ms(clip.at)) for clip in found], "why": why}

    def _avi(self, request: Request) -> bytes:
        """Return the clip that a path names. Raises HTTPException 404."""
        place, told = self._pages.place(request), request.path_params
        try:
            return self._source(place).clip(told["name"], told["view"]).content
        except NoEvidenceError as error:
            raise HTTPException(404, "no such clip") from error

    def one(self, request: Request) -> HTMLResponse:
        """Show a page that plays a clip."""
        self._avi(request)
        values = {"place": self._pages.place(request), **request.path_params}
        return self._pages.page(request, "clip.html", **values)

    def file(self, request: Request) -> Response:
        """Give the clip as it was kept."""
        told = request.path_params
        headers = {"Content-Disposition": f'attachment; filename="{told["name"]}-{told["view"]}.avi"'}
        return Response(self._avi(request), 200, headers, "video/x-msvideo")

    async def play(self, request: Request) -> StreamingResponse:
        """Give the pictures of a clip one after another, as fast as they were taken; the last one stays."""
        if self._players >= PLAYERS_AT_MOST:
            raise HTTPException(503, "too many watch")
        avi = await run_in_threadpool(self._avi, request)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return StreamingResponse(self._stream(request, avi), 200, {"Cache-Control": "no-store"}, kind)

    async def _stream(self, request: Request, avi: bytes) -> AsyncIterator[bytes]:
        self._players += 1
        try:
            each_s = seconds_each(avi)
            yield f"--{_BOUNDARY}\r\n".encode()
            for jpeg in pictures_of(avi):
                if self._pages.stopping.is_set() or self._pages.ended(request):
                    return
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                yield head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()
                await asyncio.sleep(each_s)
        finally:
            self._players -= 1


def _ms(at: str) -> float | None:
    try:
        return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() * 1000
    except ValueError:
        return None
