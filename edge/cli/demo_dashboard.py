"""The pages beside the demo: a dashboard of its own, and a link that makes an operator of whoever opens it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import StoreError
from edge.settings import Settings

if TYPE_CHECKING:
    from edge.dashboard.serving import Dashboard
    from edge.dashboard.settings import DashboardSettings

OPERATOR = "demo-operator"
_EVIDENCE = "evidence"
_GIGABYTES = 0.5  # a demo that nobody ends fills no disk


@dataclass(frozen=True)
class DemoPages:
    """The addresses of the pages. `link`: logs in as an operator, once and within half an hour; `url`: looks only."""

    url: str
    link: str

    @property
    def lines(self) -> list[str]:
        """Return the text to show, in at most 80 columns."""
        return [
            "the operator's pages; this link opens once, within half an hour:",
            f"  {self.link}",
            f"  to look only: {self.url}",
        ]


def with_evidence(settings: Settings, folder: Path) -> Settings:
    """Return the settings of a station that keeps the pictures of its rejects below a folder."""
    told = {"folder": folder / _EVIDENCE, "budget_gb": _GIGABYTES, "min_free_gb": _GIGABYTES}
    return settings.model_copy(update={"evidence": settings.evidence.model_copy(update=told)})


@contextmanager
def demo_pages(settings: Settings, folder: Path) -> Iterator[DemoPages]:
    """Serve the pages of a station whose evidence and history lie in a folder. Raises StoreError."""
    with ExitStack() as scope:
        served = _served(scope, settings, folder)
        token = served.access.one_time_link(OPERATOR, "operator")
        yield DemoPages(served.url, f"{served.url}enter/{token}")


def _served(scope: ExitStack, settings: Settings, folder: Path) -> Dashboard:
    """Serve at the usual port, or at any where somebody has that."""
    from edge.dashboard.serving import dashboard
    from edge.dashboard.settings import PORT

    try:
        return scope.enter_context(dashboard(_settings(settings, folder, PORT)))
    except StoreError:
        return scope.enter_context(dashboard(_settings(settings, folder, 0)))


def _settings(settings: Settings, folder: Path, port: int) -> DashboardSettings:
    from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings

    place = settings.line.root.removesuffix("/inspect/v1")
    return DashboardSettings(
        broker=settings.broker,
        sites=(place,),
        listen=ListenSettings(port=port),
        users=folder / "dashboard-users.json",
        history=HistorySettings(path=folder / "dashboard.db"),
        evidence={place: str(folder / _EVIDENCE)},
    )
