"""The groups of a dataset beside labels that have no word for them: `groups.csv`, whose rows name picture and piece."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path

from edge.errors import DatasetError, SourceError
from edge.pictures.tables import read_table
from trainer.importing.labelled import BrokenPicture, LabelledPicture, LabelSource

GROUPS = "groups.csv"
_COLUMNS = ("image", "group")
_IMAGES = "images/"


def groups_text(groups: Mapping[str, str]) -> str:
    """Write groups by their pictures' paths below `images/` as a table."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(groups.items())
    return text.getvalue()


def with_groups(source: LabelSource, folder: Path) -> LabelSource:
    """Give pictures the groups that a table in the folder names, where it has one. Raises DatasetError."""
    if not (folder / GROUPS).is_file():
        return source
    try:
        rows = read_table(folder / GROUPS, _COLUMNS).rows
    except SourceError as error:
        raise DatasetError(str(error)) from error
    groups = {row.values["image"].removeprefix(_IMAGES): row.values["group"].strip() for row in rows}
    return replace(source, pictures=_grouped(source.pictures, groups))


def _grouped(
    pictures: Iterator[LabelledPicture | BrokenPicture], groups: Mapping[str, str]
) -> Iterator[LabelledPicture | BrokenPicture]:
    for picture in pictures:
        group = groups.get(picture.name.removeprefix(_IMAGES))
        if group and isinstance(picture, LabelledPicture):
            yield replace(picture, group=group, notes=(*picture.notes, f"of the groups that {GROUPS} names"))
        else:
            yield picture
