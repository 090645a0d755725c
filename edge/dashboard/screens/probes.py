"""Probes for machines at the web process: `/healthz`, `/readyz` and `/metrics`.

A caller from another machine who has not logged in is told yes or no. Reasons and metrics hold names of stations, so
they are kept from that caller.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge.dashboard.metrics import CONTENT_TYPE, DashboardMetrics
from edge.dashboard.pages import Pages, visitor_of
from edge.monitoring.settings import is_loopback


def routes(pages: Pages) -> list[Route]:
    """Return the routes."""
    probes = _Probes(pages)
    return [
        Route("/healthz", probes.healthz),
        Route("/readyz", probes.readyz),
        Route("/metrics", probes.metrics),
    ]


class _Probes:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._metrics = DashboardMetrics(pages.site, lambda: pages.streams)

    def healthz(self, request: Request) -> JSONResponse:
        """Tell whether the threads move: if not, a restart may help."""
        reasons = [] if self._pages.collecting else ["the collector has ended: nothing of the broker is heard"]
        told = {"healthy": not reasons, **({"reasons": reasons} if self._trusted(request) else {})}
        return JSONResponse(told, 503 if reasons else 200)

    def readyz(self, request: Request) -> JSONResponse:
        """Tell whether the pages show what is."""
        site, history = self._pages.site, self._pages.history
        troubles = [("broker", site.broker_trouble), ("history", history.trouble)]
        reasons = [f"{what}: {why}" for what, why in troubles if why]
        reasons += [f"{topic} is not heard: {why}" for topic, why in site.unheard().items()]
        told = {"ready": not reasons, **({"reasons": reasons} if self._trusted(request) else {})}
        return JSONResponse(told, 503 if reasons else 200)

    def metrics(self, request: Request) -> Response:
        if not self._trusted(request):
            return JSONResponse({"error": "log in, or ask from the device itself"}, 403)
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    def _trusted(self, request: Request) -> bool:
        visitor = visitor_of(request)
        here = is_loopback(visitor.address) or visitor.address == "testclient"
        return visitor.session is not None or here or not self._pages.access.has_users
