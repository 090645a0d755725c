"""YAML → a frozen, typed model; every error names the file, the key path, what was expected and what was received."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from edge.errors import SettingsError
from edge.redacting import redacted

# Settings are written by hand; a larger file is another file.
_BYTES_AT_MOST = 1_000_000

ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """A part of the settings: no unknown keys, and a number is a number.

    pydantic would take true for 1 and "1000" for 1000; in millimetres that costs money.
    """

    # no setting means anything as infinite or as no number
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_lookalikes(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = _plain_types(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and bool not in wanted and wanted & {int, float}:
            raise ValueError("expected a number")
        if isinstance(value, str) and str not in wanted and wanted & {int, float}:
            raise ValueError("expected a number without quotes")
        return value


def _plain_types(annotation: Any) -> set[Any]:
    """Name the types that an annotation allows at its top level: int | None → {int, NoneType}."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return {plain for part in get_args(annotation) for plain in _plain_types(part)}
    return {annotation} if isinstance(annotation, type) else set()


class _OnceOnlyLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key given twice is an error rather than the last one winning silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected a word as key, received {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Read `path` and validate it as `model`. Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(
            f"No settings at {path}: expected a YAML file. See config/ for commented examples"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if len(text) > _BYTES_AT_MOST:
        raise SettingsError(f"{path}: expected settings of at most {_BYTES_AT_MOST} characters, received {len(text)}")
    try:
        raw = yaml.load(text, Loader=_OnceOnlyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(f"{path} is no valid YAML: {_problem(error)}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected keys with values, received {_shown(raw)}")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(*(_explain(path, problem) for problem in error.errors())) from error


def _problem(error: Exception) -> str:
    """Say what is wrong and where, without quoting the line, which may hold a password."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or error}{where}"


def _explain(path: Path, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    if problem["type"] == "extra_forbidden":
        return f"{path}, key {where}: no such key; check its spelling against the examples in config/"
    if problem["type"] == "missing":
        return f"{path}, key {where}: expected a value, received nothing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"] and message.startswith("key "):  # of keys that do not fit each other: it names them itself
        return f"{path}, {message}"
    expected = message.replace("Input should be", "expected", 1)
    received = "something that is not shown here" if "password" in where else _shown(problem["input"])
    return f"{path}, key {where}: {expected}; received {received}"


def _shown(value: Any) -> str:
    """Show what was received; never what a secret holds."""
    text = redacted(f"{value!r:.80}") if not isinstance(value, dict) else f"the keys {sorted(map(str, value))}"
    return f"{text} ({type(value).__name__})" if value is not None else "nothing"
