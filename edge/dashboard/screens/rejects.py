"""Rejects: a filmstrip with filters, one result with its pictures and defects, and what people say of it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from edge.dashboard import judged_elsewhere, rejects
from edge.dashboard.evidence_sources import WHICH, LocalEvidence, NoEvidenceError, judgement_told
from edge.dashboard.journal import is_moment, moment_ms
from edge.dashboard.pages import Pages, field, to, user_of
from edge.dashboard.rejects import Filter
from edge.evidence.exporting import Exported
from edge.evidence.judging import COMMENT_CHARACTERS, NAME_CHARACTERS, WORDS, Judgement
from edge.printable import printable
from edge.web.page import escaped
from edge.wording import counted

_ASKED = ("place", "verdict", "recipe", "class", "said", "from", "to")
_TEXT_AT_MOST = 200
_BODY_BYTES = 16_384
_AT_ONCE = 4
_EXPORTED_AT_MOST = 5_000
# Pictures stay as they are, but for one that is deleted.
_FRESH = {"Cache-Control": "private, max-age=60"}


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Rejects(pages)
    return [
        Route("/rejects", screen.page),
        Route("/rejects/export", screen.export, methods=["POST"]),
        Route("/rejects/{number:int}", screen.one),
        Route("/rejects/{number:int}/judge", screen.judge, methods=["POST"]),
        Route("/rejects/{number:int}/{view}/{which}", screen.picture),
        Route("/peer/evidence/{name}/record", screen.peer_record),
        Route("/peer/evidence/{name}/judge", screen.peer_judge, methods=["POST"]),
        Route("/peer/evidence/{name}/{view}/{which}", screen.peer_picture),
    ]


class _Rejects:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._sources = pages.evidence
        self._drawing = asyncio.Semaphore(_AT_ONCE)  # a large picture takes memory

    # --- the list

    def page(self, request: Request) -> HTMLResponse:
        """Show the filmstrip."""
        pages = self._pages
        if not pages.site.places():
            return pages.page(request, "nobody.html")
        wanted, asked, wrong = self._wanted(request)
        judged_elsewhere.hear(pages, wanted.place)
        found = [] if wrong else rejects.results(pages.history, wanted, _before(request), rejects.PAGE + 1)
        shown = found[: rejects.PAGE]
        recipes, classes = rejects.choices(pages.history, wanted.place)
        last = shown[-1] if len(found) > rejects.PAGE else None
        return pages.page(
            request,
            "rejects.html",
            400 if wrong else 200,
            refused=request.query_params.get("refused", "")[:300],
            asked=asked,
            wrong=wrong,
            rows=[{**row, "view": _first_view(row)} for row in shown],
            link=urlencode({name: value for name, value in asked.items() if value or name == "verdict"}),
            older=None if last is None else f"{last['at_ms']}.{last['id']}",
            begun=_before(request) is not None,
            recipes=recipes,
            classes=classes,
            verdicts=rejects.VERDICTS,
            said=rejects.SAID,
        )

    def _wanted(self, request: Request) -> tuple[Filter, dict[str, str], str]:
        """Return what an address asks for, the words in it, and which of them is no time."""
        query = request.query_params
        asked = {name: query.get(name, "")[:_TEXT_AT_MOST] for name in _ASKED}
        place = asked["place"] if self._pages.site.knows(asked["place"]) else self._pages.site.places()[0]
        verdict = asked["verdict"] if asked["verdict"] in {*rejects.VERDICTS, ""} else "NG"
        if "verdict" not in query:
            verdict = "NG"
        said = asked["said"] if asked["said"] in rejects.SAID else ""
        zone = self._pages.site.settings.shift_plan.zone
        wrong = next((asked[name] for name in ("from", "to") if not is_moment(asked[name], zone)), "")
        asked |= {"place": place, "verdict": verdict, "said": said}
        wanted = Filter(place, verdict, asked["recipe"], asked["class"], said)
        if not wrong:
            begins_ms, ends_ms = (moment_ms(asked[name], zone) for name in ("from", "to"))
            wanted = replace(wanted, from_ms=begins_ms, to_ms=ends_ms)
        return wanted, asked, wrong

    # --- one result

    def _row(self, request: Request) -> dict[str, Any]:
        """Return the result that a path names. Raises HTTPException 404."""
        number = request.path_params["number"]
        row = rejects.one(self._pages.history, number) if number < 2**63 else None
        if row is None or not self._pages.site.knows(row["place"]):
            raise HTTPException(404, "no such result")
        return row

    def one(self, request: Request) -> HTMLResponse:
        """Show one result."""
        row = self._row(request)
        judged_elsewhere.hear(self._pages, row["place"])
        row = self._row(request)
        wanted, asked, _ = self._wanted(request)
        wanted = replace(wanted, place=row["place"])
        newer, older = rejects.beside(self._pages.history, wanted, row)
        kept, why = self._kept(row)
        told = rejects.views(row["body"])
        which = "clean" if request.query_params.get("show") == "clean" else "marked"
        link = urlencode({name: value for name, value in asked.items() if value or name == "verdict"})
        return self._pages.page(
            request,
            "reject.html",
            row=row,
            views=told,
            kept=kept,
            why=why,
            which=which,
            link=link,
            newer=newer,
            older=older,
            words=WORDS,
            classes=_classes(kept, told),
            refused=request.query_params.get("refused", "")[:300],
            comment_characters=COMMENT_CHARACTERS,
            name_characters=NAME_CHARACTERS,
        )

    def _kept(self, row: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the kept views by name, and why there are none."""
        if not row["evidence_id"]:
            return {}, ""
        try:
            record = self._sources.source(row["place"]).record(row["evidence_id"])
        except NoEvidenceError as error:
            return {}, str(error)
        return {str(view.get("view")): view for view in record["views"] if isinstance(view, dict)}, ""

    async def picture(self, request: Request) -> Response:
        """Return a picture, or one that says there is none; that one never looks like a part."""
        row = await run_in_threadpool(self._row, request)
        view, which = request.path_params["view"], request.path_params["which"]
        if which not in WHICH:
            raise HTTPException(404, "no such picture")
        async with self._drawing:
            try:
                source = self._sources.source(row["place"])
                file = await run_in_threadpool(source.picture, row["evidence_id"] or "", view, which)
            except NoEvidenceError as error:
                return Response(_words(str(error)), 200, {"X-Linewatch-Picture": "none"}, "image/svg+xml")
        return Response(file.content, 200, _FRESH, file.type)

    async def judge(self, request: Request) -> Response:
        """Write down what an operator says, and go on to the next."""
        form = await self._pages.form(request, "operator")
        row = await run_in_threadpool(self._row, request)
        word, class_name, comment = field(form, "opinion"), field(form, "class").strip(), field(form, "comment")
        back = f"/rejects/{row['id']}?{field(form, 'link', 2_000)}"
        if word not in WORDS or not row["evidence_id"]:
            return to(f"{back}&{urlencode({'refused': 'opinion'})}")
        judgement = Judgement(
            row["evidence_id"], word, self._pages.site.wall(), user_of(request), class_name or None, comment
        )
        try:
            source = self._sources.source(row["place"])
            await run_in_threadpool(source.judge, judgement)
            await run_in_threadpool(rejects.note, self._pages.history, row["place"], [judgement])
        except (NoEvidenceError, ValueError) as error:
            return to(f"{back}&{urlencode({'refused': str(error)[:300]})}")
        detail = " ".join(filter(None, (class_name, comment)))
        self._pages.note(
            row["place"], "judged", judgement.user, row["part_id"] or row["evidence_id"], outcome=word, detail=detail
        )
        following = field(form, "next")
        return to(f"/rejects/{following}?{field(form, 'link', 2_000)}" if following.isdecimal() else back)

    async def export(self, request: Request) -> Response:
        """Give an engineer a zip of what the filters show, pictures and judgements, to train with."""
        await self._pages.form(request, "engineer")
        wanted, asked, wrong = await run_in_threadpool(self._wanted, request)
        back = f"/rejects?{urlencode({**asked, 'refused': wrong or 'export'})}"
        folder = Path(tempfile.mkdtemp(prefix="linewatch-export-"))
        gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        try:
            done = await run_in_threadpool(self._exported, wanted, folder / "evidence.zip", user_of(request))
        except NoEvidenceError as error:
            refused = urlencode({**asked, "refused": str(error)[:300]})
            return RedirectResponse(f"/rejects?{refused}", 303, background=gone)
        if not done.results:
            return RedirectResponse(back, 303, background=gone)
        detail = f"{counted(done.results, 'result')}; {counted(len(done.wrong), 'file')} could not be had"
        self._pages.note(wanted.place, "exported", user_of(request), "evidence.zip", outcome="ok", detail=detail)
        name = f"evidence-{self._pages.site.wall():%Y%m%dT%H%M%S}.zip"
        return FileResponse(folder / "evidence.zip", filename=name, media_type="application/zip", background=gone)

    def _exported(self, wanted: Filter, path: Path, user: str) -> Exported:
        source = self._sources.source(wanted.place)
        if not isinstance(source, LocalEvidence):
            raise NoEvidenceError("These pictures are at another dashboard. Export them there")
        rows = rejects.results(self._pages.history, wanted, None, _EXPORTED_AT_MOST)
        names = [row["evidence_id"] for row in rows if row["evidence_id"]]
        return source.export(names, path, user, self._pages.site.wall())

    # --- other dashboards

    def _peer(self, request: Request) -> LocalEvidence:
        """Return the evidence that a peer asks for. Raises HTTPException 401 without the key, 404 without evidence."""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not self._sources.knows(key):
            raise HTTPException(401, "key")
        name = request.path_params["name"]
        for source in self._sources.of.values():
            if isinstance(source, LocalEvidence):
                try:
                    source.record(name)
                except NoEvidenceError:
                    continue
                return source
        raise HTTPException(404, "no such evidence")

    def peer_record(self, request: Request) -> Response:
        """Give another dashboard a record."""
        return JSONResponse(dict(self._peer(request).record(request.path_params["name"])))

    def peer_picture(self, request: Request) -> Response:
        """Give another dashboard a picture."""
        source, told = self._peer(request), request.path_params
        if told["which"] not in WHICH:
            raise HTTPException(404, "no such picture")
        try:
            file = source.picture(told["name"], told["view"], told["which"])
        except NoEvidenceError as error:
            return PlainTextResponse(str(error), 404)
        return Response(file.content, media_type=file.type)

    async def peer_judge(self, request: Request) -> Response:
        """Write down what a person said at another dashboard."""
        source = await run_in_threadpool(self._peer, request)
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _BODY_BYTES:
            raise HTTPException(413, "too large")
        try:
            judgement = judgement_told(request.path_params["name"], await request.body(), self._pages.site.wall())
            await run_in_threadpool(source.judge, judgement)
        except (ValueError, NoEvidenceError) as error:
            return PlainTextResponse(str(error), 400)
        return JSONResponse({"outcome": "ok"})


def _first_view(row: dict[str, Any]) -> str | None:
    """Return the view that the filmstrip shows: that of the reason, else the first; None where none is told."""
    names = [view.name for view in rejects.views(row["body"])]
    named = [name for name in names if str(row["reason"] or "").startswith(f"{name}:")]
    return next(iter(named or names), None) if row["evidence_id"] else None


def _before(request: Request) -> tuple[int, int] | None:
    """Read where a page begins; an unknown place in the order begins at the newest."""
    parts = request.query_params.get("before", "").split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _classes(kept: dict[str, Any], views: list[rejects.View]) -> list[str]:
    """Return the classes that a person may mean: those of the models, and those that were found."""
    known = [
        entry.get("name") for view in kept.values() for entry in view.get("classes", ()) if isinstance(entry, dict)
    ]
    found = [defect["class"] for view in views for defect in view.defects or ()]
    return sorted({str(name)[:64] for name in (*known, *found) if name})


def _words(text: str) -> str:
    """Return a picture of words alone."""
    lines = [printable(text)[start : start + 44] for start in range(0, min(len(text), 220), 44)]
    spans = "".join(f'<tspan x="16" dy="1.4em">{escaped(line)}</tspan>' for line in lines)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 300" width="480" height="300">'
        '<rect width="480" height="300" fill="#dde3e7"/><path d="M0 0L480 300M480 0L0 300" stroke="#c3cbd1"/>'
        f'<text x="16" y="60" font-family="sans-serif" font-size="18" fill="#1c262d">{spans}</text></svg>'
    )
