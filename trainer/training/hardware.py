"""The hardware of training: devices, precision, and how much memory is left."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from edge.errors import DependencyError, SettingsError
from edge.installing import how_to_install
from trainer.recipe.settings import TrainSettings
from trainer.training.quiet_imports import import_quietly

_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")


def import_keras(seed: int, *, deterministic: bool = True) -> Any:
    """Import Keras on TensorFlow and seed everything; `deterministic`: one seed on one machine computes the same twice.

    Raises DependencyError.
    """
    try:
        import_quietly(("tensorflow", "keras"))  # Keras alone could run on another backend
    except ImportError as error:
        raise DependencyError(
            f"Training needs TensorFlow, and an import failed: {error}. {how_to_install('tensorflow', extra='train')}"
        ) from error
    import keras
    import tensorflow as tf

    logging.getLogger("tensorflow").addFilter(_tells_the_reader_something)
    if keras.backend.backend() != "tensorflow":
        raise DependencyError(
            f"Training needs Keras on TensorFlow, and Keras runs on {keras.backend.backend()}. Unset KERAS_BACKEND"
        )
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()  # or the order of a sum is that of the threads
    return keras


def _tells_the_reader_something(record: logging.LogRecord) -> bool:
    """Leave out what TensorFlow advises those who write programs: a network per fold is traced once per fold."""
    return "tf.function retracing" not in record.getMessage()


def make_strategy(settings: TrainSettings) -> Any:
    """Return the tf.distribute.Strategy for `devices`: the plain one for one device, mirrored for several.

    Raises SettingsError where a named device is absent, or the batch cannot be shared evenly.
    """
    import tensorflow as tf

    names = _devices(settings.devices)
    if settings.sampling.batch % max(1, len(names)):
        raise SettingsError(
            f"expected sampling.batch as a multiple of the {len(names)} devices, received {settings.sampling.batch}"
        )
    if len(names) > 1 and (settings.xla or settings.optimizer.full_batch):
        raise SettingsError("xla and optimizer.full_batch work on one device. Give devices: one")
    if len(names) > 1:
        return _mirrored(tuple(names))
    return tf.distribute.OneDeviceStrategy(f"/{names[0]}") if names else tf.distribute.get_strategy()


@cache
def _mirrored(names: tuple[str, ...]) -> Any:
    """Return the one strategy of a process for these devices: two would mix up their exchanges."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _devices(wanted: str | Sequence[str]) -> list[str]:
    """Name the devices to use, `GPU:0`; none where TensorFlow may choose."""
    import tensorflow as tf

    if wanted == "one":
        return []
    present = [":".join(device.name.split(":")[-2:]) for device in tf.config.list_logical_devices()]
    if wanted == "all":
        return [name for name in present if name.startswith("GPU")]
    absent = [name for name in wanted if name not in present]
    if absent:
        raise SettingsError(f"devices: {', '.join(absent)} not found; this machine has {', '.join(present)}")
    return list(wanted)


def on_one_processor(strategy: Any) -> bool:
    """Tell whether training computes on this machine's processor alone: no GPU, and one device."""
    import tensorflow as tf

    return strategy.num_replicas_in_sync == 1 and not tf.config.list_physical_devices("GPU")


@contextmanager
def layer_precision(precision: str) -> Iterator[None]:
    """Let layers that are built inside compute in `precision`; those built afterwards in float32 again."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def cores() -> int:
    """Return how many of the processor's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(strategy: Any) -> str:
    """Name what training runs on, for people: GPUs by their names, else the processor and its cores."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    count = cores()
    computer = f"{processor()}, {count} {'core' if count == 1 else 'cores'}"
    if not gpus:
        shared = strategy.num_replicas_in_sync
        return computer + (f", shared by {shared} devices" if shared > 1 else "")
    details = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    used = max(1, strategy.num_replicas_in_sync)
    return f"{used} of {len(details)} GPU ({', '.join(sorted(set(details)))}); {count} cores"


def processor() -> str:
    """Return the processor's name, or at least its kind."""
    try:
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def available_bytes(meminfo: Path = _MEMINFO, control_group: Path = _CGROUP) -> int | None:
    """Return how much memory may still be taken: what the system has and what the container's limit leaves.

    None where the system does not tell (it is not Linux).
    """
    known = [value for value in (_system_bytes(meminfo), _container_bytes(control_group)) if value is not None]
    return min(known) if known else None


def _system_bytes(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _container_bytes(folder: Path) -> int | None:
    """Return what control groups leave (version 2); page cache can be given back and is not counted as taken."""
    try:
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        taken = int((folder / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no limit ("max"), or no control groups
        return None
    return max(0, limit - taken + int(stat.get("inactive_file", 0)))
