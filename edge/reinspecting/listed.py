"""One kept picture that is to be judged: what it is called, and where its bytes or pixels lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# A file of this machine, an address that pyarrow.fs reads, or an entry of a zip. A frame of a recording or of a video.
Kind = Literal["file", "address", "zip", "frame", "video"]


@dataclass(frozen=True)
class Listed:
    """One picture of a source. `picture`: its name, which no other has; it does not tell where the source lies.

    `where`: the file's path, address, or zip. `within`: the zip's entry, or the recording's camera. `index`: which
    frame of its clip or video. `part_id`, `view`: None where nothing tells them.
    """

    picture: str
    kind: Kind
    where: bytes
    within: str = ""
    index: int = 0
    part_id: str | None = None
    view: str | None = None

    def as_row(self) -> dict[str, Any]:
        """Return it as a row of a list."""
        return {
            "picture": self.picture,
            "kind": self.kind,
            "where": self.where,
            "within": self.within,
            "index": self.index,
            "part_id": self.part_id,
            "view": self.view,
        }


def listed_of(row: Mapping[str, Any]) -> Listed:
    """Return what `as_row` told."""
    return Listed(**row)
