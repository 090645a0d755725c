"""The engines that are open: one for each bundle, whose batcher all views share that use the bundle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from edge.bundle import Bundle
from edge.errors import EngineError
from edge.inspection.batcher import Batcher
from edge.protocols import Engine
from edge.records.health import EngineNow


class HangingEngine(Engine, Protocol):
    """An engine that tells whether a call of it does not return. `in_use`: backend and precision."""

    in_use: str

    @property
    def hangs(self) -> bool:
        """Tell whether a call of it does not return."""
        ...


class OpenEngine:
    """An engine that is open, and the batcher that is its only caller. `model`: its name and version."""

    def __init__(self, scope: ExitStack, engine: HangingEngine, batcher: Batcher, model: str) -> None:
        self._scope = scope
        self.engine = engine
        self.batcher = batcher
        self.model = model

    def close(self) -> None:
        """Answer all that waits with an error, and let go of the model."""
        self._scope.close()


class OpenEngines:
    """Opens the engine of a bundle when first asked for it, and closes it when nobody uses it any more.

    `open_engine`: returns a proven engine, as a context. `asked`: the backend and precision of the settings. Any thread
    may ask; nobody waits for an engine that another one opens or closes.
    """

    def __init__(
        self, open_engine: Callable[[Bundle], AbstractContextManager[HangingEngine]], *, asked: str = ""
    ) -> None:
        self._open_engine = open_engine
        self._asked = asked
        self._lock = threading.Lock()
        self._open: dict[str, OpenEngine] = {}
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._over = True
        for one in self.take_out(()):
            one.close()

    def batcher(self, bundle: Bundle) -> Batcher:
        """Return the batcher of a bundle's engine, which is opened and proven first if it is not open.

        Raises BundleError and EngineError where it cannot be. Asked by one thread at a time.
        """
        found = self.open_batcher(bundle)
        if found is not None:
            return found
        with ExitStack() as scope:
            engine = scope.enter_context(self._open_engine(bundle))
            batcher = scope.enter_context(Batcher(engine, bundle.manifest.tile.overlap_px))
            with self._lock:
                if self._over:
                    raise EngineError("the station was closed while the engine was opened")
                model = f"{bundle.manifest.name} {bundle.manifest.version}"
                self._open[key_of(bundle)] = OpenEngine(scope.pop_all(), engine, batcher, model)
            return batcher

    def open_batcher(self, bundle: Bundle) -> Batcher | None:
        """Return the batcher of a bundle's engine if that is open."""
        with self._lock:
            found = self._open.get(key_of(bundle))
        return None if found is None else found.batcher

    def take_out(self, wanted: Collection[Bundle]) -> list[OpenEngine]:
        """Return every engine but those of the `wanted` bundles, for the caller to close; they are no longer asked."""
        keys = {key_of(bundle) for bundle in wanted}
        with self._lock:
            return [self._open.pop(key) for key in list(self._open) if key not in keys]

    @property
    def hangs(self) -> bool:
        """Tell whether any of them does not answer."""
        with self._lock:
            return any(one.engine.hangs for one in self._open.values())

    def now(self) -> list[EngineNow]:
        """Return how each of them is; from any thread."""
        with self._lock:
            opened = list(self._open.values())
        return [
            EngineNow(
                model=one.model,
                asked=self._asked,
                in_use=one.engine.in_use,
                hangs=one.engine.hangs,
                batches=one.batcher.counts.batches,
                tiles=one.batcher.counts.tiles,
                full=one.batcher.counts.full,
            )
            for one in opened
        ]

    @property
    def count(self) -> int:
        """Return the number of open engines."""
        return len(self._open)


def key_of(bundle: Bundle) -> str:
    """Return the name under which a bundle's engine is kept: its place, and what it holds."""
    return f"{Path(bundle.path)}:{bundle.model_sha256}:{hash(tuple(sorted(bundle.manifest.files.items())))}"
