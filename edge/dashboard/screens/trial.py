"""Try a picture: drop pictures, or a folder of them, and see verdict, overlay and table; save the report."""

from __future__ import annotations

import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from edge.dashboard.pages import Pages, field, to, user_of, visitor_of
from edge.errors import LinewatchError
from edge.inspection.trying import BusyError, Tried, Tries

FILES_AT_MOST = 60
BYTES_AT_MOST = 100_000_000
_KEPT_AT_MOST = 8
_NAME_AT_MOST = 200
_CHUNK = 1 << 20


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Trial(pages)
    return [
        Route("/try", screen.page),
        Route("/try", screen.inspect, methods=["POST"]),
        Route("/try/{key}", screen.told),
        Route("/try/{key}/report.html", screen.report),
        Route("/try/{key}/{number:int}.jpg", screen.picture),
    ]


class _Trial:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._kept: OrderedDict[str, tuple[str, Tried]] = OrderedDict()

    def page(self, request: Request) -> HTMLResponse:
        """Show where pictures are dropped."""
        return self._page(request)

    def _page(self, request: Request, status: int = 200, refused: str = "") -> HTMLResponse:
        tries, why = self._pages.tries, ""
        views: Sequence[tuple[str, str]] = ()
        try:
            views = () if tries is None else tries.views()
        except LinewatchError as error:
            why = str(error)
        return self._pages.page(
            request,
            "trial.html",
            status,
            views=views,
            why=why,
            refused=refused,
            files_at_most=FILES_AT_MOST,
            megabytes_at_most=BYTES_AT_MOST // 1_000_000,
        )

    async def inspect(self, request: Request) -> Response:
        """Inspect what was sent, and show what it came to."""
        tries = self._pages.tries
        form = await self._pages.form(request, "operator", BYTES_AT_MOST, FILES_AT_MOST)
        try:
            if tries is None:
                raise HTTPException(404, "nobody tries pictures")
            tried = await _inspected(tries, form)
        except BusyError as error:
            return await run_in_threadpool(self._page, request, 503, str(error))
        except LinewatchError as error:
            return await run_in_threadpool(self._page, request, 400, str(error))
        finally:
            await form.close()
        if tried is None:
            return await run_in_threadpool(self._page, request, 400, "none")
        user = user_of(request)
        detail = " ".join(f"{count} {verdict}" for verdict, count in tried.counts.items())
        self._pages.note(
            None, "tried", user, f"{tried.recipe}/{tried.camera}", outcome="ok", detail=f"{tried.model}: {detail}"
        )
        return to(f"/try/{self._keep(user, tried)}")

    def _keep(self, user: str, tried: Tried) -> str:
        key = secrets.token_urlsafe(12)
        self._kept[key] = (user, tried)
        while len(self._kept) > _KEPT_AT_MOST:
            self._kept.popitem(last=False)
        return key

    def _tried(self, request: Request) -> Tried:
        """Return what somebody tried themselves. Raises HTTPException 404 for what is gone or another's."""
        user, tried = self._kept.get(request.path_params["key"], ("", None))
        session = visitor_of(request).session
        if tried is None or session is None or session.user != user:
            raise HTTPException(404, "nothing was tried here, or it is forgotten")
        return tried

    def told(self, request: Request) -> HTMLResponse:
        """Show what pictures came to."""
        tried = self._tried(request)
        values: dict[str, Any] = {"tried": tried, "key": request.path_params["key"]}
        return self._pages.page(request, "tried.html", **values)

    def picture(self, request: Request) -> Response:
        """Return one picture with what was found in it."""
        tried, number = self._tried(request), request.path_params["number"]
        if not 1 <= number <= len(tried.pictures) or (jpeg := tried.pictures[number - 1].drawn) is None:
            raise HTTPException(404, "no such picture")
        return Response(jpeg, media_type="image/jpeg")

    def report(self, request: Request) -> Response:
        """Return the report, to be saved: one file with its pictures."""
        headers = {"Content-Disposition": 'attachment; filename="linewatch-report.html"'}
        return Response(self._tried(request).report, 200, headers, "text/html; charset=utf-8")


async def _inspected(tries: Tries, form: FormData) -> Tried | None:
    """Inspect the files of a form; None where it has none. Raises LinewatchError."""
    recipe, _, camera = field(form, "view").partition("/")
    sent = [each for each in form.getlist("pictures") if isinstance(each, UploadFile) and each.filename]
    if not sent:
        return None
    with tempfile.TemporaryDirectory(prefix="linewatch-sent-") as folder:
        paths = [Path(folder) / f"{number:04d}" for number in range(len(sent))]
        files = [(_name(each), await _saved(each, path)) for each, path in zip(sent, paths, strict=True)]
        return await run_in_threadpool(tries.inspect, recipe, camera, files)


def _name(sent: UploadFile) -> str:
    """Return the name that a browser gave a file, as a name alone: it is no path here."""
    parts = [part for part in (sent.filename or "").replace("\\", "/").split("/") if part.strip(". \0")]
    return "/".join(parts)[-_NAME_AT_MOST:].replace("\0", "").lstrip("/") or "picture"


async def _saved(sent: UploadFile, path: Path) -> Path:
    with path.open("wb") as file:
        while chunk := await sent.read(_CHUNK):
            await run_in_threadpool(file.write, chunk)
    return path
