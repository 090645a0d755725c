from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import edge.dashboard
from edge.dashboard.screens import SCREENS
from edge.dashboard.texts import LANGUAGES, all_texts, language_of

TEMPLATES = Path(edge.dashboard.__file__).parent / "templates"


def test_each_key_has_words_in_every_language() -> None:
    """No key lacks a language, none has another one, and none is empty."""
    assert len(all_texts()) > 50
    for key, words in all_texts().items():
        assert list(words) == list(LANGUAGES), key
        assert all(isinstance(text, str) and text.strip() for text in words.values()), key


def test_each_language_names_the_same_values() -> None:
    """Each value that has a word in one language has one in the others."""
    for key, words in all_texts().items():
        named = [{name for _, name, *_ in Formatter().parse(text) if name} for text in words.values()]
        assert all(names == named[0] for names in named), key


def test_each_key_of_a_template_is_there() -> None:
    """Every `t("…")` of a template has its words, and every screen has a title."""
    for path in TEMPLATES.glob("*.html"):
        for key in re.findall(r"""\bt\(["']([^"']+)["'][),]""", path.read_text(encoding="utf-8")):
            assert key in all_texts(), f"{path.name}: {key}"
    for screen in SCREENS:
        assert screen.path is None or f"{screen.name}.title" in all_texts()


@pytest.mark.parametrize(
    ("cookie", "accepts", "language"),
    [
        (None, None, "en"),
        (None, "de-DE,de;q=0.9,en;q=0.8", "de"),
        (None, "fr,ru;q=0.3,de;q=0.7", "de"),
        (None, "zh-TW,zh;q=0.9", "zh-Hant"),
        (None, "zh-Hant-HK", "zh-Hant"),
        (None, "zh-CN", "zh-Hans"),
        (None, "zh", "zh-Hans"),
        (None, "en;q=0,ru", "ru"),
        ("ru", "de", "ru"),
        ("klingon", "de", "de"),
        (None, "*,;;q=9,\x00", "en"),
    ],
)
def test_the_language_is_chosen_by_switch_then_by_the_browser(
    cookie: str | None, accepts: str | None, language: str
) -> None:
    """The switch wins over the browser's list, whose qualities count; an unreadable entry is passed over."""
    assert language_of(cookie, accepts) == language
