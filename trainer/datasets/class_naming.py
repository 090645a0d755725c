"""The names that classes get: by number, as `1=scratch,2=stain`, or in place of another, as `Scratches=scratch`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from edge.bundle import safe_name
from edge.errors import DatasetError
from trainer.datasets.dataset import CLEAN, RESERVED


def is_clean(name: str) -> bool:
    """Tell whether a class's name says that nothing is wrong: Free, ok or good, in any case."""
    return name.lower() in CLEAN


def checked_name(name: str, where: str) -> str:
    """Return `name` if a class may be called so. Raises DatasetError that says how to rename it."""
    if safe_name(name) != name and sounds_good(name):
        raise DatasetError(
            f"{where}: {name!r} sounds as if nothing were wrong. Give --rename '{name}=ok' if these pictures are "
            f"clean, or --rename '{name}={_suggested(name)}' if it is a defect"
        )
    if safe_name(name) != name:
        raise DatasetError(
            f"{where}: expected a class of letters, digits, _ and -, received {name!r}. "
            f"Rename it: --rename '{name}={_suggested(name)}'"
        )
    if name.lower() in RESERVED:
        raise DatasetError(
            f"{where}: {name} cannot be the name of a class of defects. Rename it: --rename {name}=NAME, or "
            f"--rename {name}=ok where pictures of it have no defect"
        )
    return name


def _suggested(name: str) -> str:
    """Return a name that a class may have in place of another: without accents, and NAME where no letter is left."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    bare = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return safe_name(bare) if re.search(r"[A-Za-z0-9]", bare) else "NAME"


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


def colours_by_name(text: str) -> dict[tuple[int, int, int], str]:
    """Read `FF0000=scratch,00FF00=dent`: (red, green, blue) → class, each colour once. Raises ValueError."""
    names: dict[tuple[int, int, int], str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        colour, equals, name = (piece.strip() for piece in part.partition("="))
        digits = colour.removeprefix("#")
        if not equals or not re.fullmatch(r"[0-9A-Fa-f]{6}", digits) or safe_name(name) != name:
            raise ValueError(f"expected RRGGBB=NAME,... such as FF0000=scratch,00FF00=dent, received {part!r}")
        key = (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
        if key in names:
            raise ValueError(f"the colour {colour} is named twice: {names[key]} and {name}")
        names[key] = name
    return names


def renamed(name: str, names: Mapping[str, str], where: str) -> str:
    """Return what a class is to be called. Raises DatasetError for a name that no class may have."""
    return checked_name(names.get(name, name), where)


# Names of folders of a split, or of a dataset's other contents, that people give and no defect has.
_OF_SPLITS = frozenset({
    "train", "training", "trainset", "test", "testing", "testset", "val", "valset", "valid", "validate", "validation",
    "trainval", "traintest", "dev", "eval", "evaluation",
    "holdout", "fold", "split", "subset", "ignore", "ignored", "unsorted",
    "images", "imgs", "labels", "masks", "annotations", "all", "unlabeled", "unlabelled",
})  # fmt: skip
_GOOD = frozenset({
    "ok", "okay", "io", "good", "goods", "normal", "clean", "pass", "passed", "free", "fine", "healthy", "gut",
    "intact", "perfect", "acceptable", "accepted", "nondefective", "defectfree", "nodefect", "nodefects",
    "nondefect", "nondefects", "undefective", "faultless", "errorfree", "unblemished", "bg", "neg", "negs",
    "undamaged", "flawless", "none", "nan", "null", "nothing", "go", "inordnung", "ordnung", "fehlerfrei", "gutteil",
    "negative", "negatives", "golden", "reference", "references",
    "gutteile", "gute", "guten", "mangelfrei", "einwandfrei", "bon", "bons", "bonne", "bonnes", "bien", "bueno",
    "buena", "buenos", "buenas", "buono", "buoni", "buona", "conforme", "conformes", "conform", "sain", "sano",
    "goed", "goede", "bom", "boa", "boas", "dobry", "dobre", "iyi", "godkend", "godkjent",
})  # fmt: skip
# The same in Chinese, Japanese and Korean, which have no capitals and no blanks.
_GOOD_SIGNS = ("良品", "正常", "合格", "良好", "무결함", "양품", "정상")
_BAD_SIGNS = ("不", "非", "未", "異常", "불")
_DEFECTS = frozenset({
    "defect", "defects", "defective", "fault", "faults", "faulty", "flaw", "flaws", "error", "errors", "damage",
    "damaged", "crack", "cracks", "cracked", "anomaly", "anomalies", "anomalous", "issue", "issues",
    "problem", "problems", "fehler", "defekt", "defekte", "befund", "mangel", "defaut", "défaut", "defauts", "défauts",
    "defecto", "defectos", "difetto", "difetti", "defeito", "defeitos", "defecten", "fel", "fejl", "wad", "vad", "vady",
})  # fmt: skip
_NOT = frozenset({
    "no", "not", "non", "without", "ohne", "zero", "un", "in", "kein", "keine", "nicht", "sin", "sans", "senza",
    "sem", "geen", "zonder", "utan", "uden", "uten", "bez",
})  # fmt: skip
# Words that deny the word behind them. Of one that begins a name little else is left to say than what is not there.
_WITHOUT = frozenset({"no", "non", "without", "ohne", "kein", "keine", "keinen", "sin", "sans", "senza", "sem", "geen",
                      "zonder", "utan", "uden", "uten", "bez"})  # fmt: skip
_CLASS_WORDS = frozenset({"", "class", "cls", "label", "category", "klasse"})
_PARTS_OF_SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "holdout"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zäöüßé]+|[0-9]+")


def words_of(name: str) -> list[str]:
    """`NoDefect`, `no-defect` and `No defect 2` have the same words but for the number, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def means_clean(name: str) -> bool:
    """Tell whether a name is a word for good and nothing else, as folders are called: `good`, `i.O.`, `Gut 2`."""
    words = [word for word in words_of(name) if not word.isdigit()]
    return is_clean(name) or "".join(words) in _GOOD


def speaks_of_good(name: str) -> bool:
    """Tell whether a word in a name says that nothing is wrong: `ok_front`, `No Defect`, `good parts`; not `not_ok`."""
    if means_clean(name) or (
        any(sign in name for sign in _GOOD_SIGNS) and not any(sign in name for sign in _BAD_SIGNS)
    ):
        return True
    words = words_of(name)
    for place, word in enumerate(words):
        denied = place > 0 and words[place - 1] in _NOT
        if (word in _GOOD and not denied) or (word in _DEFECTS and denied):
            return True
        if word == "free" and place > 0:
            return True
    return False


def sounds_good(name: str) -> bool:
    """Tell whether a class's name says in words that nothing is wrong, `no_scratch` and `ohne Kratzer` included."""
    words = words_of(name)
    # neither `no_good` nor `No 3`
    denies = len(words) > 1 and words[0] in _WITHOUT and words[1].isalpha() and words[1] not in _GOOD
    return denies or speaks_of_good(name)


def is_of_a_split(name: str) -> bool:
    """Tell whether a folder is called as parts of a set are, `train` or `test_2`, rather than as a class."""
    words = [word for word in words_of(name) if not word.isdigit()]
    return "".join(words) in _OF_SPLITS or not _PARTS_OF_SPLITS.isdisjoint(words)


def _is_class_zero(name: str) -> bool:
    words = words_of(name)
    return "0" in words and "".join(word for word in words if word != "0") in _CLASS_WORDS


def questions(names: Iterable[str], answered: Mapping[str, str]) -> list[str]:
    """Return what must be asked about classes of defects before they are taken, each with the flag that answers it.

    `answered`: the renaming as it was given; a class renamed to itself is meant as it is called.
    """
    meant = {new for old, new in answered.items() if old == new}
    asked = []
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        alike.setdefault("".join(words_of(name)) or name, []).append(name)
        if name in meant:
            continue
        if is_of_a_split(name):
            asked.append(
                f"{name} looks like a folder of a split rather than a class. Import each split's folder by itself and "
                f"join them (import manifest A B); or give --rename {name}={name} if it is a class"
            )
        elif _is_class_zero(name):
            asked.append(
                f"{name} has the number that clean pictures often have. Give --rename {name}=ok if these pictures are "
                f"clean, or --rename {name}={name} if it is a defect"
            )
        elif sounds_good(name):
            asked.append(
                f"{name} sounds as if nothing were wrong. Give --rename '{name}=ok' if these pictures are clean, or "
                f"--rename '{name}={name}' if it is a defect"
            )
    for group in alike.values():
        if len(group) > 1 and not set(group) <= meant:
            first, *others = group
            asked.append(
                f"{' and '.join(group)} differ in capitals or separators only. Give "
                f"{' '.join(f'--rename {name}={first}' for name in others)} if they are one class, or other names"
            )
    return asked
