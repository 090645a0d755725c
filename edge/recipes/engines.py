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
from edge.inspection.batcher import Batcher
from edge.protocols import Engine


class HangingEngine(Engine, Protocol):
    """An engine that tells whether a call of it does not return."""

    @property
    def hangs(self) -> bool:
        """Whether a call of it does not return."""
        ...


class OpenEngines:
    """Opens the engine of a bundle when it is first asked for, and closes it when nobody uses it any more.

    `open_engine`: returns a proven engine, as a context. `alive`: called while a batcher moves. Any thread may ask.
    """

    def __init__(
        self,
        open_engine: Callable[[Bundle], AbstractContextManager[HangingEngine]],
        alive: Callable[[str], Callable[[], None]] = lambda _: lambda: None,
    ) -> None:
        self._open_engine = open_engine
        self._alive = alive
        self._lock = threading.Lock()
        self._open: dict[str, tuple[ExitStack, HangingEngine, Batcher]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep(())

    def batcher(self, bundle: Bundle) -> Batcher:
        """Return the batcher of a bundle's engine, which is opened and proven first if it is not open.

        Raises BundleError and EngineError where it cannot be.
        """
        key = key_of(bundle)
        with self._lock:
            if key not in self._open:
                with ExitStack() as scope:
                    engine = scope.enter_context(self._open_engine(bundle))
                    batcher = Batcher(engine, bundle.manifest.tile.overlap_px)
                    scope.enter_context(batcher)
                    self._open[key] = (scope.pop_all(), engine, batcher)
            return self._open[key][2]

    def keep(self, bundles: Collection[Bundle]) -> None:
        """Close every engine but those of `bundles`."""
        wanted = {key_of(bundle) for bundle in bundles}
        with self._lock:
            closing = [self._open.pop(key) for key in list(self._open) if key not in wanted]
        for scope, _, _ in closing:
            scope.close()

    @property
    def hangs(self) -> bool:
        """Whether any of them does not answer."""
        return any(engine.hangs for _, engine, _ in list(self._open.values()))

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)


def key_of(bundle: Bundle) -> str:
    """Return the name under which a bundle's engine is kept: its place, and what it holds."""
    return f"{Path(bundle.path)}:{bundle.model_sha256}:{hash(tuple(sorted(bundle.manifest.files.items())))}"
