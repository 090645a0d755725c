"""Read the five bindings anew and write what `converters/tensorrt/apis` keeps: python -m tests.tensorrt.keep_apis."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import ROOT
from tests.tensorrt.bindings import BINDINGS, compiled_stubs, installed

_APIS = ROOT / "converters" / "tensorrt" / "apis"
_READ = "import tensorrt_bindings as t; from converters.tensorrt.api import api_of; print(api_of(t).as_json(), end='')"


def main() -> None:
    """Write one JSON file per version."""
    with tempfile.TemporaryDirectory() as folder:
        for binding in BINDINGS:
            stubs = compiled_stubs(Path(folder) / str(binding.libraries), binding.libraries)
            paths = {"PYTHONPATH": str(installed(binding)), "LD_LIBRARY_PATH": str(stubs)}
            read = subprocess.run(
                [sys.executable, "-c", _READ],
                cwd=ROOT, env={**os.environ, **paths}, check=True, capture_output=True, text=True,
            )  # fmt: skip
            (_APIS / f"{'.'.join(binding.version.split('.')[:2])}.json").write_text(read.stdout)


if __name__ == "__main__":
    main()
