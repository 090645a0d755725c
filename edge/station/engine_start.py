"""Before a line can inspect it builds an engine that is missing, and says NO_READ meanwhile, never OK."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.bundle import Bundle
from edge.engines.device import Vendor
from edge.engines.engine_building import EngineBuild, built_precisions, missing_precision
from edge.engines.engine_files import Precision, RefusedPlanError
from edge.engines.tensorrt import check_plan
from edge.errors import LinewatchError
from edge.inspection.golden import require_golden
from edge.settings import EngineSettings
from edge.station.recorder import Waiting
from edge.station.watchdog import notify

BUILDING = "building the engine"
_LOG = logging.getLogger(__name__)
# As often as a silent camera is reported.
_TELL_EVERY_S = 1.0
# systemd would stop a unit that is not ready in time. It is asked for more as long as the build runs.
_MORE_TIME = "EXTEND_TIMEOUT_USEC=60000000"


def _refused_precision(settings: EngineSettings, bundle: Bundle, vendor: Vendor | None) -> Precision | None:
    """Return the precision whose engine is there but unusable here, so that it has to be built again.

    None where one can be used. A folder open to others needs a person, so it is raised at its opening.
    """
    built = built_precisions(bundle, settings.precision)
    refused = [(each, _refusal(settings, bundle, each, vendor)) for each in built]
    if not refused or not all(why for _, why in refused):
        return None
    precision, why = refused[0]
    _LOG.warning("%s. It is built again in %s, which takes minutes", why, precision)
    return precision


def _refusal(settings: EngineSettings, bundle: Bundle, precision: Precision, vendor: Vendor | None) -> str:
    """Say why an engine must be built again; "" for one that can be used, or that this would not mend."""
    try:
        check_plan(bundle, bundle.contract(settings.batch), precision, vendor)
    except RefusedPlanError as error:
        return str(error)
    except LinewatchError:
        return ""
    return ""


def build_missing_engine(
    settings: EngineSettings,
    bundle: Bundle,
    stop: threading.Event,
    *,
    vendor: Vendor | None,
    waiting: Waiting,
    say: Callable[[str], None],
) -> bool:
    """Build the engine that the settings want and this device lacks; do nothing where there is none to build.

    `say` is told once what is going on, `waiting` each second. False where `stop` was set meanwhile. Raises EngineError
    where the build fails, BundleError where no golden frame could prove the engine.
    """
    if settings.backend != "tensorrt" or settings.missing != "build":
        return True
    precision = missing_precision(bundle, settings.precision)
    if precision is None:
        precision = _refused_precision(settings, bundle, vendor)
        if precision is None:
            return True
    else:
        _LOG.warning(
            "%s has no TensorRT engine for this device: building it in %s takes minutes", bundle.path, precision
        )
    require_golden(bundle, f"a TensorRT engine in {precision}")  # or minutes would be spent on what is refused then
    say(BUILDING)
    convert = (vendor or Vendor(None, None)).convert
    with EngineBuild(convert, bundle.path, precision, settings.batch) as build:
        while not stop.is_set():
            waiting.tell(BUILDING)
            notify(f"{_MORE_TIME}\nSTATUS={BUILDING}")
            if build.done(_TELL_EVERY_S):
                return True
    return False
