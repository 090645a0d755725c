"""TensorRT's own Python bindings, of five versions, on a machine without TensorRT.

Their wheels are about a megabyte each and need a handful of C functions. A stub library gives them, each answering 0.
So enumerations, signatures and plain values are the real ones, and only `Builder` and `Runtime` cannot be made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# The user's own cache, not the one that the tests are given: it is filled once per machine.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linewatch-tests" / "tensorrt-bindings"

_STUB = """
#define ZERO(name) void *name(void) { return 0; }
ZERO(createInferBuilder_INTERNAL) ZERO(createInferRefitter_INTERNAL) ZERO(createInferRuntime_INTERNAL)
ZERO(getBuilderPluginRegistry) ZERO(getPluginRegistry) ZERO(initLibNvInferPlugins)
ZERO(createNvOnnxParser_INTERNAL) ZERO(createNvOnnxParserRefitter_INTERNAL) ZERO(getNvOnnxParserVersion)
ZERO(_ZN11nvuffparser15createUffParserEv) ZERO(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
ZERO(_ZN14nvcaffeparser117createCaffeParserEv) ZERO(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
"""
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")


@dataclass(frozen=True)
class Binding:
    """One version: what pip calls it, and which number its libraries carry."""

    requirement: str
    libraries: int

    @property
    def version(self) -> str:
        """The wheel's version."""
        return self.requirement.split("==")[1]


BINDINGS = (
    Binding("tensorrt-bindings==8.6.1", 8),
    Binding("tensorrt-cu12-bindings==10.3.0", 10),
    Binding("tensorrt-cu12-bindings==10.13.3.9", 10),
    Binding("tensorrt-cu12-bindings==10.16.1.11", 10),
    Binding("tensorrt-cu12-bindings==11.4.0.106", 11),
)


def installed(binding: Binding) -> Path:
    """Return the folder of a binding, fetched once per machine and Python. Fails the test where it cannot be had."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = _CACHE / f"{tag}-{binding.version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a fetch that was interrupted
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"]
            fetched = subprocess.run(
                [*command, "--target", str(partial), binding.requirement], capture_output=True, text=True, check=False
            )
            if fetched.returncode:
                pytest.fail(
                    f"The real binding {binding.requirement} cannot be had for {tag}, so its calls are unproven: "
                    f"{fetched.stderr.strip()[-400:]}. Give pip an index that has it, or put it at {folder}"
                )
            partial.rename(folder)
    return folder


def compiled_stubs(folder: Path, number: int) -> Path:
    """Compile the libraries that a binding asks for, under the names it asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "stub.c"
    source.write_text(_STUB)
    for library in _LIBRARIES:
        name = f"lib{library}.so.{number}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.fail("The real bindings need stub libraries and there is no gcc: sudo apt-get install gcc libc6-dev")
    return folder
