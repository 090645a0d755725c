"""A model.keras that tells of the model alone: one network with the same weights is the same file, byte for byte."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from edge.files import replacing

_CONFIG, _METADATA = "config.json", "metadata.json"
_ZIP_BEGINS = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can tell
_NO_DATE = "1980-01-01@00:00:00"
_SHARED = re.compile(r'("shared_object_id": )(\d+)')


def save_model_alone(model: Any, path: Path) -> None:
    """Save a keras.Model as `path`, without when it was saved and where in memory it lay. Raises OSError.

    Keras notes the time in the file, and calls what layers share by its address. A hash of the file would tell two
    trainings apart that came to the same.
    """
    model.save(path)
    with zipfile.ZipFile(path) as saved, replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w") as plain:
        for name in saved.namelist():
            content = saved.read(name)
            if name == _METADATA:
                content = json.dumps(json.loads(content) | {"date_saved": _NO_DATE}, sort_keys=True).encode()
            elif name == _CONFIG:
                content = _numbered(content.decode()).encode()
            plain.writestr(zipfile.ZipInfo(name, _ZIP_BEGINS), content)


def _numbered(config: str) -> str:
    """Call what is shared by numbers, from 1 in the order in which they come."""
    numbers: dict[str, int] = {}
    return _SHARED.sub(lambda found: f"{found[1]}{numbers.setdefault(found[2], len(numbers) + 1)}", config)
