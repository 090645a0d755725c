"""The names that classes get: by number, as `1=scratch,2=stain`, or in place of another, as `Scratches=scratch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.bundle import safe_name
from edge.errors import DatasetError
from trainer.datasets.dataset import CLEAN, RESERVED


def is_clean(name: str) -> bool:
    """Tell whether a class's name says that nothing is wrong: Free, ok or good, in any case."""
    return name.lower() in CLEAN


def checked_name(name: str, where: str) -> str:
    """Return `name` if a class may be called so. Raises DatasetError that says how to rename it."""
    if safe_name(name) != name:
        raise DatasetError(
            f"{where}: expected a class of letters, digits, _ and -, received {name!r}. "
            f"Rename it: --rename '{name}={safe_name(name)}'"
        )
    if name.lower() in RESERVED:
        raise DatasetError(
            f"{where}: {name} cannot be the name of a class of defects. Rename it: --rename {name}=NAME, or "
            f"--rename {name}=ok where pictures of it have no defect"
        )
    return name


def names_by_number(text: str) -> dict[int, str]:
    """Read `1=scratch,2=stain`; numbers from 0 to 255, each once. Raises ValueError."""
    names: dict[int, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        number, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or not number.isdecimal() or int(number) > 255 or safe_name(name) != name:
            raise ValueError(f"expected NUMBER=NAME,... such as 1=scratch,2=stain, received {part!r}")
        if int(number) in names:
            raise ValueError(f"the number {number} is named twice: {names[int(number)]} and {name}")
        names[int(number)] = name
    return names


def renaming(pairs: Sequence[str]) -> dict[str, str]:
    """Read `OLD=NEW` pairs; several may become one, and `OLD=ok` declares a class clean. Raises ValueError."""
    names: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.rpartition("=")
        if not equals or not old.strip() or safe_name(new.strip()) != new.strip():
            raise ValueError(f"expected OLD=NEW, NEW of letters, digits, _ and -, received {pair!r}")
        names[old.strip()] = new.strip()
    return names


def renamed(name: str, names: Mapping[str, str], where: str) -> str:
    """Return what a class is to be called. Raises DatasetError for a name that no class may have."""
    return checked_name(names.get(name, name), where)
