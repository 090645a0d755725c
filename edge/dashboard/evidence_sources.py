"""The sources of a station's pictures: a folder of this device, or another dashboard, which is asked in our name."""

from __future__ import annotations

import hmac
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import quote

from edge.errors import LinewatchError, SettingsError, StoreError
from edge.evidence.choosing import Kind, is_evidence_id
from edge.evidence.exporting import Exported, export
from edge.evidence.index import Sought
from edge.evidence.judging import Judgement, Judgements, judgement_of
from edge.evidence.marking import as_jpeg
from edge.evidence.reading import EvidenceReader, GoneError, KeptFile
from edge.secret_files import read_secret
from edge.strict_json import parse_json

SMALL_PX, LARGE_PX = 320, 4096
WHICH = ("marked", "clean", "small")
_ANSWER_BYTES = 64_000_000
_ANSWERS_WITHIN_S = 10.0
_KEY_CHARACTERS = 20


class NoEvidenceError(LinewatchError):
    """Pictures that cannot be shown, and why in words."""


class EvidenceSource(Protocol):
    """The evidence of one station. Every method raises NoEvidenceError, and may wait for a disk or a network."""

    def record(self, name: str) -> Mapping[str, Any]:
        """Return the record of a result."""
        ...

    def picture(self, name: str, view: str, which: str) -> KeptFile:
        """Return a view's picture: `clean` as it was kept, `marked`, or `small` and marked."""
        ...

    def judge(self, judgement: Judgement) -> None:
        """Write down what a person says."""
        ...


class LocalEvidence:
    """The evidence in a folder of this device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[int, int] | None = None

    def record(self, name: str) -> Mapping[str, Any]:
        """Return the record of a result."""
        try:
            with EvidenceReader(self.folder) as reader:
                return reader.record(name)
        except StoreError as error:
            raise NoEvidenceError(str(error)) from error

    def picture(self, name: str, view: str, which: str) -> KeptFile:
        """Return a view's picture."""
        try:
            with EvidenceReader(self.folder) as reader:
                if which == "clean":
                    file = reader.picture(name, view)
                    reader.marked(name, view)  # a file that is no picture is never handed on as one
                    return file
                marked = reader.marked(name, view)
        except StoreError as error:
            raise NoEvidenceError(str(error)) from error
        return KeptFile(as_jpeg(marked, SMALL_PX if which == "small" else LARGE_PX), "image/jpeg")

    def judge(self, judgement: Judgement) -> None:
        """Write down what a person says."""
        try:
            with EvidenceReader(self.folder) as reader:
                reader.judge(judgement)
        except (GoneError, StoreError) as error:
            raise NoEvidenceError(str(error)) from error

    def export(self, names: Sequence[str], path: Path, user: str, now: datetime) -> Exported:
        """Write a zip of what is kept of these results, as the command does."""
        try:
            with EvidenceReader(self.folder) as reader:
                rows = [row for name in names if (row := _row(reader, name)) is not None]
                return export(reader, rows, path, now=now, user=user)
        except StoreError as error:
            raise NoEvidenceError(str(error)) from error

    def clips(self, limit: int) -> list[dict[str, Any]]:
        """Return the rows of the newest clips."""
        try:
            with EvidenceReader(self.folder) as reader:
                return reader.find(Sought(kinds=(Kind.CLIP.value,)), limit)
        except StoreError as error:
            raise NoEvidenceError(str(error)) from error

    def clip(self, name: str, view: str) -> KeptFile:
        """Return a view's clip, as it was kept."""
        try:
            with EvidenceReader(self.folder) as reader:
                return reader.picture(name, view, "clip")
        except StoreError as error:
            raise NoEvidenceError(str(error)) from error

    def news(self) -> list[Judgement]:
        """Return every judgement of the folder, if the file has changed since the last call; else none."""
        file = Judgements(self.folder)
        try:
            status = file.path.stat()
        except OSError:
            return []
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return []
        self._seen = seen
        return [found for line in file.lines() if (found := judgement_of(line)) is not None]


def _row(reader: EvidenceReader, name: str) -> dict[str, Any] | None:
    try:
        return reader.row(name)
    except GoneError:
        return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing: the address is that of the settings."""
        return


class RemoteEvidence:
    """The evidence of another dashboard. `key`: what both have in common; the browser never gets it."""

    def __init__(self, address: str, key: str) -> None:
        self._address = address.rstrip("/")
        self._key = key
        self._opener = urllib.request.build_opener(_NoRedirects)

    def record(self, name: str) -> Mapping[str, Any]:
        """Return the record of a result."""
        try:
            told = parse_json(self._ask(f"{_checked(name)}/record")[0])
        except ValueError as error:
            raise NoEvidenceError(f"{self._address} answered what is no record: {error}") from error
        if not isinstance(told, dict) or not isinstance(told.get("views"), list):
            raise NoEvidenceError(f"{self._address} answered what is no record")
        return told

    def picture(self, name: str, view: str, which: str) -> KeptFile:
        """Return a view's picture."""
        content, kind = self._ask(f"{_checked(name)}/{quote(view, safe='')}/{which}")
        if kind not in {"image/jpeg", "image/png"} or not content.startswith((b"\xff\xd8\xff", b"\x89PNG")):
            raise NoEvidenceError(f"{self._address} answered what is no picture")
        return KeptFile(content, kind)

    def judge(self, judgement: Judgement) -> None:
        """Have it written down there."""
        told = {
            "judgement": judgement.judgement,
            "at": judgement.at.isoformat(),
            "user": judgement.user,
            "class": judgement.class_name,
            "comment": judgement.comment,
        }
        self._ask(f"{_checked(judgement.name)}/judge", json.dumps(told).encode())

    def _ask(self, path: str, body: bytes | None = None) -> tuple[bytes, str]:
        request = urllib.request.Request(  # noqa: S310 - http or https, by the settings
            f"{self._address}/peer/evidence/{path}", body, {"Authorization": f"Bearer {self._key}"}
        )
        try:
            with self._opener.open(request, timeout=_ANSWERS_WITHIN_S) as answer:
                content = answer.read(_ANSWER_BYTES + 1)
                if len(content) > _ANSWER_BYTES:
                    raise NoEvidenceError(f"{self._address} answered more than {_ANSWER_BYTES} bytes")
                return content, str(answer.headers.get_content_type())
        except urllib.error.HTTPError as error:
            self._refused(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoEvidenceError(f"{self._address} cannot be reached: {error}") from error

    def _refused(self, error: urllib.error.HTTPError) -> NoReturn:
        with error:
            plain = error.headers.get_content_type() == "text/plain" and error.code in {404, 400}
            said = error.read(2_000).decode("utf-8", "replace") if plain else ""
        if error.code == 401:
            raise NoEvidenceError(f"{self._address} does not take our key: both need the same evidence_key_file")
        if error.code == 404 and not said:
            said = f"There is no such evidence at {self._address}: it was not kept, or its time is over"
        raise NoEvidenceError(said or f"{self._address} answered {error.code}")


def _checked(name: str) -> str:
    if not is_evidence_id(name):
        raise NoEvidenceError(f"There is no evidence {name[:64]!r}")
    return name


@dataclass(frozen=True)
class EvidenceSources:
    """The evidence of every station of the settings. `key`: for dashboards that ask each other; "" = none may."""

    of: Mapping[str, EvidenceSource]
    key: str = ""

    def source(self, place: str) -> EvidenceSource:
        """Return where a station's evidence is. Raises NoEvidenceError where the settings do not say."""
        found = self.of.get(place)
        if found is None:
            raise NoEvidenceError(
                f"The settings do not say where the pictures of {place} are. Set evidence.folder at the station, or "
                "evidence here"
            )
        return found

    def knows(self, key: str) -> bool:
        """Tell whether another dashboard has our key."""
        return bool(self.key) and hmac.compare_digest(key.encode(), self.key.encode())


def evidence_sources(places: Mapping[str, str], key_file: Path | None) -> EvidenceSources:
    """Return where the evidence of each station is. Raises SettingsError for a key that cannot be one."""
    key = "" if key_file is None else _key(key_file)
    if remote := [place for place, where in places.items() if "://" in where and not key]:
        raise SettingsError(
            "key evidence_key_file: expected a file with the key of the dashboard that has the pictures of "
            f"{remote[0]}, received none"
        )
    if odd := [where for where in places.values() if "://" in where and not where.startswith(("http://", "https://"))]:
        raise SettingsError(f"key evidence: expected a folder, or an address as https://host:8080; received {odd[0]}")
    return EvidenceSources(
        {
            place: RemoteEvidence(where, key) if "://" in where else LocalEvidence(Path(where))
            for place, where in places.items()
        },
        key,
    )


def _key(path: Path) -> str:
    key = read_secret("evidence_key_file", path).strip()
    if len(key) < _KEY_CHARACTERS or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"key evidence_key_file: expected one line of {_KEY_CHARACTERS} characters or more in {path}, such as "
            "openssl rand -hex 32 writes"
        )
    return key


def judgement_told(name: str, body: bytes, now: datetime) -> Judgement:
    """Read what another dashboard wants to be written down. Raises ValueError for what is no judgement."""
    told = parse_json(body)
    if not isinstance(told, dict) or not isinstance(told.get("user"), str) or not isinstance(told.get("comment"), str):
        raise ValueError("expected a judgement with user and comment")  # noqa: TRY004 - of what was told
    said = told.get("class")
    if not (said is None or isinstance(said, str)):
        raise ValueError("expected the name of a class, or none")
    return Judgement(name, told.get("judgement"), now, told["user"], said, told["comment"])  # type: ignore[arg-type]
