"""Makes recipes ready beside the running one: verifies their bundles, opens and proves the engines of their views.

It holds the edition of settings and bundles that the station judges by. Another one is made ready beside it, and the
former one stays ready until nobody goes back to it.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.bundle import Bundle, load_bundle
from edge.errors import BundleError, EngineError, LinewatchError
from edge.inspection.batcher import Batcher
from edge.recipes.edition import Edition, Read, require_changeable
from edge.recipes.engines import OpenEngine, OpenEngines
from edge.recipes.loaded import LoadedRecipe, UnreadyRecipe, loaded, model_of, unready
from edge.settings import Settings
from edge.stopping import leave_behind

_LOG = logging.getLogger(__name__)
_JOIN_S = 10.0
# The wait for the last frames of a recipe before its engines are closed.
_LETTING_GO_S = 2.0
_LOOK_S = 0.01


class RecipeLoader:
    """Loads the recipes of one station. `bundles`: verified, by their path in the settings.

    `build`: builds the engine of a bundle where this device lacks it, until the event is set; False where it was.
    Between entering and leaving, recipes are loaded on request in a thread of the loader's own. `in_use`: whether a
    frame may still go to a batcher, or waits for its answer. Then its engine is not closed at once.
    """

    def __init__(
        self,
        settings: Settings,
        bundles: Mapping[Path | None, Bundle],
        engines: OpenEngines,
        build: Callable[[Bundle, threading.Event], bool] = lambda _bundle, _stop: True,
    ) -> None:
        self.edition = Edition(0, settings, dict(bundles))  # by which the station judges
        self._candidate: Edition | None = None
        self._former: Edition | None = None
        self._last_number = 0
        self.engines = engines
        self._build = build
        self.in_use: Callable[[Batcher], bool] = lambda _: False
        self._lock = threading.Lock()
        self._recent: list[str] = []  # the recipe in force, then those that were used or loaded last
        self._stop = threading.Event()
        self._wishes: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recipe loader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wishes.put(None)
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            leave_behind(self._thread)

    def bundles_of(self, recipe: str) -> list[Bundle]:
        """Return the bundles of a recipe's views, each once."""
        return self.edition.bundles_of(recipe)

    def load(self, recipe: str) -> LoadedRecipe:
        """Open what a recipe needs and return it, ready. Raises BundleError and EngineError."""
        ready = _made(self.edition, recipe, self.engines.batcher)
        with self._lock:
            self._remember(recipe)
        return ready

    def request(self, recipe: str, *, drained: bool = False) -> Future[LoadedRecipe]:
        """Have a recipe loaded: its bundles are verified again, its engines built, opened and proven.

        `drained`: all engines that it does not need are closed first. The future raises LinewatchError.
        """
        answer: Future[LoadedRecipe] = Future()

        def work() -> None:
            try:
                answer.set_result(self._loaded(recipe, drained=drained))
            except LinewatchError as error:
                answer.set_exception(error)
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever went wrong
                _LOG.exception("The recipe %s cannot be loaded", recipe)
                answer.set_exception(EngineError(f"the recipe {recipe} cannot be loaded: {error!r}"))

        self._wishes.put(work)
        return answer

    def prepare(self, read: Read, recipe: str) -> Future[Edition]:
        """Have other settings and bundles read, and made ready beside the running ones. `recipe`: the one in force.

        The engines of every recipe that is warm now are built, opened and proven. The future raises LinewatchError
        where the edition cannot be taken.
        """
        answer: Future[Edition] = Future()

        def work() -> None:
            try:
                answer.set_result(self._prepared(read, recipe))
            except LinewatchError as error:
                self.give_up()
                answer.set_exception(error)
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever went wrong
                _LOG.exception("The settings cannot be read again")
                self.give_up()
                answer.set_exception(EngineError(f"the settings and bundles cannot be taken: {error!r}"))

        self._wishes.put(work)
        return answer

    def adopt(self, edition: Edition) -> None:
        """Let the station judge by an edition that was prepared; the former one stays ready."""
        with self._lock:
            self.edition, self._former, self._candidate = edition, self.edition, None

    def go_back(self) -> Edition:
        """Let the station judge by the former edition again, and return that."""
        with self._lock:
            assert self._former is not None  # noqa: S101 - it is kept until `settle`
            self.edition, self._former = self._former, None
        self._wishes.put(self._trim)
        return self.edition

    def settle(self) -> None:
        """Let go of the former edition: nobody goes back to it."""
        with self._lock:
            self._former = None
        self._wishes.put(self._trim)

    def give_up(self) -> None:
        """Let go of an edition that was prepared and is not wanted."""
        with self._lock:
            self._candidate = None
        self._wishes.put(self._trim)

    def ready(self, recipe: str, edition: Edition | None = None) -> LoadedRecipe | None:
        """Return a recipe if all its engines are open, and keep them so up to the next change; else None.

        `edition`: another one than that by which the station judges.
        """
        of = edition or self.edition
        with self._lock:
            known = recipe in of.settings.station_recipes
            if not known or not all(self.engines.open_batcher(bundle) for bundle in of.bundles_of(recipe)):
                return None
            if edition is None:
                self._remember(recipe)
            return _made(of, recipe, self._open_batcher)

    def unready(self, recipe: str, reason: str) -> UnreadyRecipe:
        """Return what stands for a recipe that cannot judge; one that the station lacks has the views of the first."""
        edition, settings = self.edition, self.edition.settings
        known = settings.station_recipes
        entry = known.get(recipe, known[settings.first_recipe])
        models = {name: model_of(edition.bundles[view.bundle]) for name, view in entry.views.items()}
        named = models if recipe in known else {}
        return unready(recipe, entry, settings.parts, named, reason=reason, edition=edition.number)

    def used(self, recipe: str) -> None:
        """Note that a recipe is in force.

        The loader's thread closes engines of those that were so long ago.
        """
        with self._lock:
            self._recent = [recipe, *(name for name in self._recent if name != recipe)]
        self._wishes.put(self._trim)

    def _remember(self, recipe: str) -> None:
        """Put a recipe behind the one in force."""
        first = self._recent[:1]
        self._recent = [*first, *(name for name in [recipe, *self._recent[1:]] if name not in first)]
        self._recent = list(dict.fromkeys(self._recent))

    def _open_batcher(self, bundle: Bundle) -> Batcher:
        found = self.engines.open_batcher(bundle)
        if found is None:
            raise EngineError(f"the engine of {bundle.path} was closed")
        return found

    def _run(self) -> None:
        while (work := self._wishes.get()) is not None:
            if self._stop.is_set():
                continue
            work()

    def _loaded(self, recipe: str, *, drained: bool) -> LoadedRecipe:
        bundles = self.bundles_of(recipe)
        if drained:
            self._close(self.engines.take_out(bundles))
        for bundle in bundles:
            if self.engines.open_batcher(bundle) is None:
                self._verify(bundle)
                self._built(bundle)
        return self.load(recipe)

    def _built(self, bundle: Bundle) -> None:
        if not self._build(bundle, self._stop):
            raise EngineError("the station was stopped while the engine was built")

    def _prepared(self, read: Read, recipe: str) -> Edition:
        settings, bundles = read()
        self._last_number += 1
        edition = Edition(self._last_number, settings, dict(bundles))
        require_changeable(self.edition, edition, recipe)
        with self._lock:
            self._candidate = edition
            warm = dict.fromkeys([recipe, *self._recent[: settings.keep_recipes]])
        for name in warm:
            if name not in settings.station_recipes:
                continue
            for bundle in edition.bundles_of(name):
                if self.engines.open_batcher(bundle) is None:
                    self._built(bundle)
                    self.engines.batcher(bundle)
        return edition

    def _verify(self, bundle: Bundle) -> None:
        """Read and hash a bundle again. Raises BundleError, also where it is another one than at the start."""
        if load_bundle(bundle.path).manifest != bundle.manifest:
            raise BundleError(
                f"{bundle.path} was replaced: expected model {bundle.model_sha256}, as the station knows it. Run "
                "linewatch reload to take the new one"
            )

    def _trim(self) -> None:
        with self._lock:
            editions = [one for one in (self.edition, self._candidate, self._former) if one is not None]
            wanted = [bundle for one in editions for bundle in self._warm_of(one)]
            closing = self.engines.take_out(wanted)
        self._close(closing)

    def _warm_of(self, edition: Edition) -> list[Bundle]:
        """Return the bundles of an edition whose engines stay open."""
        known = edition.settings.station_recipes
        kept = self._recent[: edition.settings.keep_recipes]
        return [bundle for name in kept if name in known for bundle in edition.bundles_of(name)]

    def _close(self, engines: Sequence[OpenEngine]) -> None:
        """Close engines once the frames that they were given are answered, or after a while."""
        until_s = time.monotonic() + _LETTING_GO_S
        while any(self.in_use(one.batcher) for one in engines) and time.monotonic() < until_s:
            self._stop.wait(_LOOK_S)
            if self._stop.is_set():
                break
        for one in engines:
            one.close()
        if engines:
            _give_back()


def _give_back() -> None:
    """Return to the system what closed engines had. The allocator keeps it else, in more pieces after each change."""
    with suppress(AttributeError, OSError):  # another C library than glibc has no such call
        ctypes.CDLL(None).malloc_trim(0)


def _made(edition: Edition, recipe: str, batcher_of: Callable[[Bundle], Batcher]) -> LoadedRecipe:
    settings = edition.settings
    entry = settings.station_recipes[recipe]

    def of_view(view: str) -> tuple[Bundle, Batcher]:
        bundle = edition.bundles[entry.views[view].bundle]
        return bundle, batcher_of(bundle)

    return loaded(recipe, entry, settings.parts, of_view, edition.number)
