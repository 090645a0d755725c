"""pyarrow, behind a seam: Parquet, and storages beyond this machine's disks. Its errors become ours."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edge.errors import DependencyError, SourceError
from edge.installing import how_to_install
from edge.pictures import SUFFIXES, as_text
from edge.pictures.decoding import BYTES_AT_MOST
from edge.redacting import redacted

_RETRIED_S = 30
_SHOWN = 3
_FROZEN = "not valid for the object's storage class"  # S3's word for a picture in Glacier
# in small letters and without bars: S3 says SignatureDoesNotMatch, and pyarrow SIGNATURE_DOES_NOT_MATCH
_NO_CREDENTIALS = (
    *("accessdenied", "no response body", "credential", "invalidaccesskeyid", "signaturedoesnotmatch"),
    *("invalidclienttokenid", "invalidtoken", "expiredtoken", "missingauthenticationtoken"),
)


def load_arrow(module: str = "pyarrow") -> Any:
    """Return pyarrow or one of its modules. Raises DependencyError with what to do."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"Results are Parquet, which pyarrow writes, and it cannot be imported: {error}. "
            f"{how_to_install('pyarrow', extra='archives')}"
        ) from error


def is_address(source: str) -> bool:
    """Tell whether a source is an address rather than a path."""
    scheme, marked, _ = source.partition("://")
    return bool(marked) and scheme.isidentifier()


class UnreachableError(SourceError):
    """A storage that gives nothing: away, or without credentials that it takes. Another time it may."""


@dataclass(frozen=True)
class Storage:
    """A file system that pyarrow reads, and the place in it that an address names."""

    address: str
    system: Any
    place: str

    def pictures(self, tell: Callable[[str], object]) -> Iterator[str]:
        """Yield the paths of all pictures below, folder by folder. Raises SourceError.

        `tell` hears of keys with two slashes in a row, which pyarrow can neither list nor read.
        """
        waiting = [self.place]
        nameless: list[str] = []
        info = self._told(lambda: self.system.get_file_info(self.place))
        if info.type.name == "File":
            yield self.place
            return
        if info.type.name == "NotFound":
            raise SourceError(
                f"Nothing at {redacted(self.address)}: expected a folder with pictures. Look at the address"
            )
        selector = load_arrow("pyarrow.fs").FileSelector
        while waiting:
            folder = waiting.pop()
            for found in self._told(lambda folder=folder: self.system.get_file_info(selector(folder))):
                if found.type.name == "Directory" and found.path.rstrip("/") == folder.rstrip("/"):
                    nameless.append(as_text(f"{folder}//"))
                elif found.type.name == "Directory":
                    waiting.append(found.path)
                elif PurePosixPath(found.path).suffix.lower() in SUFFIXES:
                    yield found.path
        if nameless:
            more = f" and {len(nameless) - _SHOWN} more" if len(nameless) > _SHOWN else ""
            told = f"{', '.join(nameless[:_SHOWN])}{more}"
            tell(f"left out of {redacted(self.address)}, two slashes in a row, which nobody can read here: {told}")

    def read(self, path: str) -> bytes:
        """Return a file's bytes. Raises SourceError; UnreachableError where it is not the file that is at fault."""
        try:
            with self.system.open_input_stream(path) as stream:
                content: bytes = stream.read(BYTES_AT_MOST + 1)
        except FileNotFoundError as error:
            raise SourceError(f"No picture at {path}: there is no such file") from error
        except (OSError, ValueError) as error:
            if _FROZEN in str(error):  # the storage answers, and this picture's class is what is wrong
                raise SourceError(
                    f"{path} cannot be read: its storage class gives nothing at once. Restore it, or take it out"
                ) from error
            raise unreachable(self.address, error, path) from error
        if len(content) > BYTES_AT_MOST:
            raise SourceError(f"{path} is too large; expected a picture of at most {BYTES_AT_MOST / 1e9:.1f} GB")
        return content

    def _told(self, act: Any) -> Any:
        try:
            return act()
        except (OSError, ValueError) as error:
            raise unreachable(self.address, error) from error


def unreachable(address: str, error: Exception, path: str = "") -> UnreachableError:
    """Return what is told where a storage does not give what it is asked for. `path`: of a picture, if of one."""
    said = redacted(as_text(" ".join(f"{path}{': ' if path else ''}{error}".split())[:300]))
    plain = said.lower().replace("_", "")
    if any(word in plain for word in _NO_CREDENTIALS):
        return UnreachableError(
            f"{redacted(address)} cannot be read without credentials that it takes: {said}. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or name a profile in AWS_PROFILE"
        )
    return UnreachableError(f"{redacted(address)} cannot be read: {said}. Look at the address and the network")


def open_storage(address: str) -> Storage:
    """Open what an address such as s3://bucket/folder names. Raises SourceError, DependencyError.

    For S3 the address may end in ?endpoint_override=HOST:PORT&scheme=http&region=NAME.
    """
    # an address of this kind is looked up at Amazon's own computers alone, and waited for elsewhere
    if address.startswith("s3://") and "AWS_EC2_METADATA_DISABLED" not in os.environ:
        os.environ["AWS_METADATA_SERVICE_TIMEOUT"] = "1"
    fs = load_arrow("pyarrow.fs")
    try:
        system, place = fs.FileSystem.from_uri(_not_for_ever(address))
    except (OSError, ValueError, load_arrow().ArrowException) as error:
        raise unreachable(address, error) from error
    return Storage(address, system, place)


def _not_for_ever(address: str) -> str:
    """Return an address of Google's storage with a limit: without one it is tried for a quarter of an hour."""
    if not address.startswith(("gs://", "gcs://")) or "retry_limit_seconds" in address:
        return address
    return f"{address}{'&' if '?' in address else '?'}retry_limit_seconds={_RETRIED_S}"
