"""A missing engine is built by `convert`, in a process of its own: what runs a line holds no converter."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from typing_extensions import Self

from edge.bundle import ONNX_MODEL, Bundle
from edge.engines.engine_files import Precision, plan_path, sidecar_path
from edge.errors import DependencyError, EngineError, StoreError

# TensorRT 8.6 cannot be stopped in the middle of a build.
_PATIENCE_S = 20.0
_PRECISION_PLANS: dict[str, str] = {"fp16": "precision.json", "int8": "precision.int8.json"}


def missing_precision(bundle: Bundle, precision: str) -> Precision | None:
    """Return the precision whose engine has to be built, None where there is an engine.

    `auto` is satisfied by an engine of any precision. Else it is fp16, or fp32 for a bundle without a precision plan.
    """
    every: tuple[Precision, ...] = ("fp16", "fp32", "int8")
    asked = [each for each in every if precision in {"auto", each}]
    if any(plan_path(bundle.path, each).exists() or _described(bundle, each) for each in asked):
        return None
    able = [each for each in asked if _PRECISION_PLANS.get(each, ONNX_MODEL) in bundle.manifest.files]
    return next(iter(able or asked), None)


def built_precisions(bundle: Bundle, precision: str) -> list[Precision]:
    """Return the precisions that the settings allow and that something was built in, in the order they are taken."""
    every: tuple[Precision, ...] = ("fp16", "fp32", "int8")
    asked = [each for each in every if precision in {"auto", each}]
    return [each for each in asked if plan_path(bundle.path, each).exists() or _described(bundle, each)]


def _described(bundle: Bundle, precision: Precision) -> bool:
    """Tell whether a plan's description is left without it. A person must look at that; nothing is built over it."""
    return sidecar_path(plan_path(bundle.path, precision)).exists()


class EngineBuild:
    """One running build of a bundle's engine, for batches of 1 to `batch` tiles; leaving it ends the build."""

    def __init__(self, convert: Sequence[str], bundle: Path, precision: Precision, batch: int) -> None:
        options = ["--to", "tensorrt", "--precision", precision, "--batch", f"1,{batch},{batch}"]
        self._command = [*convert, str(bundle), *options]
        try:
            self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        except OSError as error:
            raise StoreError(f"No temporary file can be made: {error}. Name another folder in TMPDIR") from error
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            # a session of its own: Ctrl-C is the line's to hear, which then ends the build
            self._process = subprocess.Popen(  # noqa: S603 - our own command, with a bundle's path and numbers
                self._command, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True
            )
        except OSError as error:
            self._said.close()
            raise DependencyError(f"The engine cannot be built, since {self._command[0]} fails: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._said.close()

    def done(self, timeout_s: float) -> bool:
        """Wait for so long; tell whether the engine is built. Raises EngineError with the converter's words."""
        assert self._process is not None  # noqa: S101 - entered first
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        if code:
            self._said.seek(0)
            told = self._said.read().decode(errors="replace").strip()[-2000:]
            raise EngineError(f"The engine could not be built: {' '.join(self._command)} ended with {code}: {told}")
        return True
