"""YAML → a frozen, typed model; every error names the file, the key path, what was expected and what was received."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from edge.errors import SettingsError
from edge.files import read_text
from edge.redacting import redacted

# Settings are written by hand; a larger file is another file.
_BYTES_AT_MOST = 1_000_000

# Their content with aliases followed, in characters and values.
_UNFOLDED_AT_MOST = 2 * _BYTES_AT_MOST
_NUMBER_AT_MOST = 64
# A zero byte ends a name for the system. Half a pair is no character, but for what stands for a name's odd byte.
_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_PROBLEMS_TOLD = 20
# Of what was received, in characters.
_SHOWN, _KEYS_SHOWN, _LOOKED_AT = 80, 400, 20_000

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # of cameras, recipes and whatever else is part of a topic

_SWITCH = {"on": "on", "yes": "on", "true": "on", "off": "off", "no": "off", "false": "off"}

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
        annotation = cls.model_fields[str(info.field_name)].annotation
        wanted, words = _plain_types(annotation), _words(annotation)
        for text in _texts(value, wanted):
            if odd := _NO_TEXT.search(text):
                raise ValueError(f"expected text, received the character {odd[0]!a}")
        # JSON is written by programs, which have true for true
        if info.mode != "json" and bool not in wanted and (switch := _switch(value)) in words:
            return switch
        if isinstance(value, bool) and bool not in wanted and wanted & {int, float}:
            raise ValueError("expected a number")
        if isinstance(value, str) and value not in words and str not in wanted and wanted & {int, float}:
            raise ValueError("expected a number without quotes")
        if isinstance(value, list | tuple) and _numbers_only(annotation) and _odd_numbers(value):
            raise ValueError("expected numbers without quotes, and no true or false")
        return value


def without_earlier_names(given: Any, earlier: Mapping[str, str]) -> Any:
    """Return what was given for a model, where it has no key by an earlier name: `earlier` has the new one of each.

    Raises ValidationError, which names the key and what it is called now.
    """
    found = [name for name in earlier if isinstance(given, dict) and name in given]
    if found:
        problems = [
            InitErrorDetails(
                type=PydanticCustomError("renamed_key", "expected its new name, {new}", {"new": earlier[name]}),
                loc=(name,),
                input=given[name],
            )
            for name in found
        ]
        raise ValidationError.from_exception_data("settings", problems)
    return given


def _plain_types(annotation: Any) -> set[Any]:
    """Name the types that an annotation allows at its top level: int | None → {int, NoneType}."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return {plain for part in get_args(annotation) for plain in _plain_types(part)}
    if get_origin(annotation) is Literal:
        return {type(word) for word in get_args(annotation) if type(word) in {int, float}}
    return {annotation} if isinstance(annotation, type) else set()


def _numbers_only(annotation: Any) -> bool:
    """Tell whether an annotation is a list or tuple of numbers, or of lists of them.

    It may be left out besides.
    """
    if get_origin(annotation) is Annotated:
        return _numbers_only(get_args(annotation)[0])
    parts = [part for part in get_args(annotation) if part not in {Ellipsis, type(None)}]
    if get_origin(annotation) in {Union, UnionType}:
        return len(parts) == 1 and _numbers_only(parts[0])
    numbers = ((plain := _plain_types(part)) and plain <= {int, float} for part in parts)
    return get_origin(annotation) in {tuple, list} and all(
        _numbers_only(part) or number for part, number in zip(parts, numbers, strict=True)
    )


def _odd_numbers(value: Any) -> bool:
    """Tell whether a list holds, at any depth, what only looks like a number."""
    return isinstance(value, bool | str) or (isinstance(value, list | tuple) and any(map(_odd_numbers, value)))


def _texts(value: Any, wanted: set[Any]) -> Iterator[str]:
    """Yield the texts that a key was given.

    Those of a model within are looked at there, under their own keys.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        yield from (part for part in value if isinstance(part, str))
    elif isinstance(value, dict) and not any(issubclass(plain, BaseModel) for plain in wanted):
        yield from (part for pair in value.items() for part in pair if isinstance(part, str))


def _words(annotation: Any) -> set[Any]:
    """Name the words that an annotation allows at its top level: WatchSettings | Literal["auto", "off"] → auto, off."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    parts = get_args(annotation) if get_origin(annotation) in {Annotated, Union, UnionType} else ()
    return {word for part in parts for word in _words(part)}


def _switch(value: Any) -> str | None:
    """Return `on` or `off` for what people write for it: yes, No, true; None for anything else."""
    return _SWITCH.get(str(value).lower()) if isinstance(value, bool | str) else None


class _SettingsLoader(yaml.SafeLoader):
    """PyYAML's safe loader, for settings written by hand.

    Plain words are as in YAML 1.2 (10.3.2, core schema). `off`, `no` and `2026-01-01` are words, not false, false and a
    date. A number with a leading zero is a word too: 010 is 8 to one reader and 10 to another. A key given twice is an
    error rather than the last one winning. Merge keys (`<<: *base`) work; the unfolding of aliases is bounded.
    """

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Compose a word or a number; none has thousands of digits, which Python could not even show."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if node.tag in _NUMBER_TAGS and len(node.value) > _NUMBER_AT_MOST:
            raise yaml.constructor.ConstructorError(
                None, None, f"expected a number of at most {_NUMBER_AT_MOST} characters, received more", node.start_mark
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping whose keys are words, each given once."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEY_TAGS:
                shown = repr(self.construct_object(key, deep=True)) if isinstance(key, yaml.ScalarNode) else "more"
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected a word as key, received {shown:.80}", key.start_mark
                )
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r:.80} is given twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, and refuse one whose aliases would unfold to more than settings ever are."""
        node = super().get_single_node()
        if node is not None:
            _unfolded(node, {})
        return node


_TAG = "tag:yaml.org,2002:"
# PyYAML's own, those of YAML 1.1, are not taken over.
_SettingsLoader.yaml_implicit_resolvers = {}
_KEY_TAGS = {f"{_TAG}str", f"{_TAG}merge"}
_NUMBER_TAGS = {f"{_TAG}int", f"{_TAG}float"}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    _firsts = [None if first == "\0" else first for first in _first]
    _SettingsLoader.add_implicit_resolver(f"{_TAG}{_tag}", re.compile(rf"^(?:{_pattern})$"), _firsts)


def _unfolded(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Return how many characters and values a node stands for once its aliases are followed.

    Raises ConstructorError for more than _UNFOLDED_AT_MOST, or for an alias inside what it names.
    """
    size = known.get(id(node), 0)
    if size is None:
        raise yaml.constructor.ConstructorError(None, None, "an alias stands inside what it names", node.start_mark)
    if size:
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.ScalarNode):
        size += len(node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_unfolded(part, known) for pair in node.value for part in pair)
    else:
        size += sum(_unfolded(part, known) for part in node.value)
    if size > _UNFOLDED_AT_MOST:
        raise yaml.constructor.ConstructorError(
            None, None, f"its aliases unfold to more than {_UNFOLDED_AT_MOST} characters", node.start_mark
        )
    known[id(node)] = size
    return size


def read_settings(path: Path) -> str:
    """Return the text of a settings file. A pipe to which nobody writes is not waited for. Raises SettingsError."""
    try:
        text = read_text(path, _BYTES_AT_MOST)
    except FileNotFoundError as error:
        raise SettingsError(
            f"No settings at {path}: expected a YAML file. See config/ for commented examples"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} cannot be read as UTF-8 text: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
        told = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path} cannot be read: {told}. Expected a file that this user may read") from error
    if len(text) > _BYTES_AT_MOST:
        raise SettingsError(f"{path}: expected settings of at most {_BYTES_AT_MOST} characters, received more")
    return text


# The latter of PyYAML's own constructors, where a tag and its value do not fit: `!!bool perhaps`.
_NO_YAML = (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError)


def load_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Read `path` and validate it as `model`. Raises SettingsError."""
    text = read_settings(path)
    try:
        raw = yaml.load(text, Loader=_SettingsLoader)  # noqa: S506 - a SafeLoader
    except _NO_YAML as error:
        raise SettingsError(f"{path} is no valid YAML: {_problem(error)}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected keys with values, received {_shown(raw)}")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = error.errors()
        told = [_explain(path, problem) for problem in problems[:_PROBLEMS_TOLD]]
        more = [f"{path}: and {len(problems) - len(told)} more"] if len(problems) > len(told) else []
        raise SettingsError(*told, *more) from error


# The remedies of the commonest faults, by PyYAML's words for them.
_ADVICE = {
    r"'\t'": ". Indent and separate by spaces, not by tabs",
    "cannot start any token": ". Put a text that begins so in quotes",
    "mapping values are not allowed here": ". Put a text with a colon in quotes, and indent keys of one level alike",
}
# pydantic's words, and those for a person who set up a line.
_WORDS = [
    (re.compile(theirs), ours)
    for theirs, ours in (
        (r"^Input should be a valid dictionary( or instance of \w+)?$", "expected keys with values"),
        (r"^Input should be", "expected"),
        (r"^String should have", "expected"),
        (
            re.escape(r"String should match pattern '^[^\s/]+$'"),
            "expected a name or address without spaces and slashes",
        ),
        (r"^String should match pattern", "expected a text of the pattern"),
    )
]


def _problem(error: Exception) -> str:
    """Say what is wrong and where, without quoting the line, which may hold a password."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = str(getattr(error, "problem", None) or error)[:_LOOKED_AT]
    advice = next((advice for sign, advice in _ADVICE.items() if sign in problem), "")
    return f"{redacted(problem):.{_KEYS_SHOWN}}{where}{advice}"


def _explain(path: Path, problem: Any) -> str:
    where = f"{'.'.join(str(part) for part in problem['loc']):.{_KEYS_SHOWN}}" or "the whole file"
    if problem["type"] == "extra_forbidden":
        # a no-break space, as from a web page, looks like any other
        where = re.sub(r"[^\S ]", lambda odd: ascii(odd[0])[1:-1], where)
        return f"{path}, key {where}: no such key; check its spelling against the examples in config/"
    if problem["type"] == "missing":
        return f"{path}, key {where}: expected a value, received nothing"
    if problem["type"] == "renamed_key":
        return f"{path}, key {where}: this key is called {problem['ctx']['new']} now; rename it"
    where = where.removesuffix(".[key]")
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch" and problem["ctx"]["pattern"] == NAME_PATTERN:
        message = "expected a name of 1 to 64 letters A-Z and a-z, digits, _ and -, no _ or - at its beginning"
    if not problem["loc"] and message.startswith("key "):  # of keys that do not fit each other: it names them itself
        return f"{path}, {message}"
    expected = message
    for theirs, ours in _WORDS:
        expected = theirs.sub(ours, expected, count=1)
    received = "something that is not shown here" if "password" in where else _shown(problem["input"])
    return f"{path}, key {where}: {expected}; received {received}"


def _shown(value: Any) -> str:
    """Show what was received; never what a secret holds."""
    shown = f"the keys {sorted(map(str, value))}" if isinstance(value, dict) else repr(value)
    # hidden first and cut then: half an address may show a password whose end is cut off
    text = redacted(shown[:_LOOKED_AT])[: _KEYS_SHOWN if isinstance(value, dict) else _SHOWN]
    return f"{text} ({type(value).__name__})" if value is not None else "nothing"
