"""The words of the pages, by key and language: `texts/*.yaml`, a file for each screen and one for what all share.

Each key has its words in every language side by side, so that a missing one is seen. A key is `file.name`. In a text
`{name}` stands for a value. The value is escaped on its way into the page as any other text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# Each language by its own name, as the switch shows it.
LANGUAGES: Mapping[str, str] = {
    "en": "English",
    "de": "Deutsch",
    "zh-Hans": "简体中文",
    "zh-Hant": "繁體中文",
    "ru": "Русский",
}
FOLDER = Path(__file__).parent / "texts"
_TRADITIONAL = {"zh-tw", "zh-hk", "zh-mo"}
_RANGE = re.compile(r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)(?:\s*;\s*q=([01](?:\.[0-9]{0,3})?))?")


@cache
def all_texts() -> dict[str, dict[str, str]]:
    """Return the words of every key, by language."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for name, words in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            found[f"{path.stem}.{name}"] = words
    return found


def text(language: str, key: str, **values: Any) -> str:
    """Return the words of a key. Raises KeyError for a key that no file has."""
    words = all_texts()[key][language]
    return words.format(**values) if values else words


def has_text(key: str) -> bool:
    """Tell whether there are words for a key, such as one made of a word of the wire."""
    return key in all_texts()


def language_of(cookie: str | None, accept_language: str | None) -> str:
    """Choose a language: the one that was switched to, else what the browser likes best, else English."""
    if cookie in LANGUAGES:
        return str(cookie)
    liked = []
    for place, part in enumerate((accept_language or "")[:1_000].split(",")):
        found = _RANGE.fullmatch(part.strip())
        if found is not None and (quality := float(found[2] or 1)) > 0:
            liked.append((-quality, place, found[1].lower()))
    return next((language for *_, tag in sorted(liked) if (language := _known(tag)) is not None), "en")


def _known(tag: str) -> str | None:
    """Return the language that a tag of a browser stands for (RFC 4647, by its beginning); None for another one."""
    if tag.startswith("zh"):
        return "zh-Hant" if "hant" in tag or any(tag.startswith(place) for place in _TRADITIONAL) else "zh-Hans"
    begin = tag.partition("-")[0]
    return begin if begin in LANGUAGES else None
