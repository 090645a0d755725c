"""Settings for taking files from a watched folder, into which a camera drops them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge.yaml_settings import StrictModel


class FilesSettings(StrictModel):
    """`after`: whether a taken file stays, is deleted, or is moved into the folder `taken` below the watched one.

    `order`: of files that are finished at once, by their names or by when they were last written. `settled_ms`: so long
    a file must not have changed before it is looked at. `unfinished_s`: a file that did not change for so long and
    cannot be read is NO_READ. `subfolders`: whether folders within the folder are watched too.
    """

    after: Literal["keep", "delete", "move"] = "keep"
    order: Literal["name", "time"] = "name"
    settled_ms: Annotated[int, Field(ge=10, le=60_000)] = 300
    unfinished_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    subfolders: bool = True
