"""A zip as labelling tools hand it out → its files in a folder, and none beside it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from edge.errors import DatasetError, StoreError
from edge.wording import counted

_FILES_AT_MOST = 1_000_000
_BYTES_AT_MOST = 64_000_000_000
_SPARE_BYTES = 100_000_000
_UTF8 = 0x800  # the flag of names in UTF-8


def is_zip(path: Path) -> bool:
    """Tell whether a file is a zip, however it is called. Raises DatasetError where it cannot be read."""
    try:
        found = path.is_file() and zipfile.is_zipfile(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    if not found and path.is_file() and path.suffix.lower() == ".zip":
        raise DatasetError(f"{path}: expected a whole zip, received one that is cut off, or no zip. Fetch it again")
    return found


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip into an empty folder. Raises DatasetError for one that is none, or StoreError where it is full."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            size = sum(each.file_size for each in members)
            if len(members) > _FILES_AT_MOST or size > _BYTES_AT_MOST:
                raise DatasetError(
                    f"{path}: expected an export, received {counted(len(members), 'file')} of {size} bytes. Unpack it"
                )
            if size + _SPARE_BYTES > (free := shutil.disk_usage(folder).free):
                raise StoreError(
                    f"{path} needs {-(-size // 1_000_000)} MB unpacked; {folder.parent} has {free // 1_000_000}. Free "
                    "some space, or name another place in TMPDIR"
                )
            for each in members:
                target = folder / _inside(each, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(each) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    # a compression that Python lacks is a NotImplementedError, a password a RuntimeError
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise DatasetError(f"{path} cannot be unpacked: {error}. Unpack it and give the folder") from error
    except FileExistsError as error:
        raise DatasetError(f"{path}: expected each file once, received {error.filename} twice") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be unpacked: {error.strerror or error}. Free some space") from error


def _inside(member: zipfile.ZipInfo, path: Path) -> PurePosixPath:
    """Return where a file lies below the folder. Raises DatasetError for a name that leads out."""
    name = member.filename
    if not member.flag_bits & _UTF8:  # most programs mean UTF-8 all the same
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = member.filename
    inside = PurePosixPath(name.replace("\\", "/"))
    if not inside.parts:
        raise DatasetError(f"{path}: expected a name for each file in it, received {name!r}. Pack it anew")
    if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0] or "\0" in name:
        raise DatasetError(f"{path}: expected files in it, received {name}, which leads out of it")
    return inside
