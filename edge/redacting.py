"""Hide what must not be read: who signs in and how, in URLs, GStreamer pipelines and query strings.

Cameras carry secrets in every part of their address: a password, a token as the user's name, in the query, in the
path. So of a URL only scheme, host, port and the short pieces of its path are shown.
"""

from __future__ import annotations

import re

HIDDEN = "***"
# A host as it may follow the @ of a URL: a name, an IPv4 address or an IPv6 address in brackets, then a port.
HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/?#@\[\]\"']+)(?::\d+)?"

# In quotes a URL may hold spaces; elsewhere it ends at one.
_SCHEME = r"(?P<scheme>[a-z][a-z0-9+.-]*://)"
_QUOTED_URL = re.compile(rf"(?P<quote>[\"']){_SCHEME}(?P<rest>.*?)(?P=quote)(?=[\s,;:)\]}}]|$)", re.IGNORECASE)
_URL = re.compile(rf"{_SCHEME}(?P<rest>\S+)", re.IGNORECASE)
_AFTER = "\"':;,.)]}"  # marks that may follow a URL in a sentence
# Of a text that is nothing but one URL, and may hold spaces and quotes.
_WHOLE_URL = re.compile(rf"\s*{_SCHEME}(?P<rest>[^\n]+)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?P<name>(?:user-pw|user-id|proxy-pw|password|passwd|passphrase|pwd|pass|token|secret|api-?key|auth)\s*[=:]\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s&!,;]+)",
    re.IGNORECASE,
)
# So many letters and digits in a row: a piece of a path that may be a token.
_TOKEN = re.compile(r"[A-Za-z0-9+=~%-]{16,}")
_HEX = re.compile(r"[0-9A-Fa-f]{8,}(?:-[0-9A-Fa-f]{4,})*")


def redacted(text: str) -> str:
    """Replace secrets by ***: rtsp://user:secret@host/a?token=b → rtsp://***@host/a?***; user-pw=…, password=… too."""
    if whole := _WHOLE_URL.fullmatch(text):
        return whole["scheme"] + _shown(whole["rest"])
    text = _QUOTED_URL.sub(lambda url: url["quote"] + url["scheme"] + _shown(url["rest"]) + url["quote"], text)
    text = _URL.sub(lambda url: url["scheme"] + _shown(url["rest"]), text)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)


def _shown(rest: str) -> str:
    """Show of a URL's part after :// what is no secret; hide both readings of an ambiguous one."""
    rest, end = rest.rstrip(_AFTER), rest[len(rest.rstrip(_AFTER)) :]
    before, at, after = rest.rpartition("@")
    if at and not _is_of_query(before):
        return f"{HIDDEN}@{_place(after)}{end}"
    return _place(rest) + end


def _is_of_query(before: str) -> bool:
    """Tell whether the last @ belongs to a query, after a host that stands alone."""
    return re.fullmatch(rf"{HOST}(?:/[^?#@:]*)?\?[^#@]*", before) is not None


def _place(rest: str) -> str:
    """Show host, port and path; no query, no fragment, no piece of the path that may be a token."""
    end = re.search(r"[?#]", rest)
    place, more = (rest[: end.start()], end[0] + HIDDEN) if end else (rest, "")
    host, *pieces = place.split("/")
    if host and not re.fullmatch(HOST, host):  # half an address, cut off before its @
        host = HIDDEN
    return "/".join([host, *(HIDDEN if _may_be_token(piece) else piece for piece in pieces)]) + more


def _may_be_token(piece: str) -> bool:
    return bool(_TOKEN.search(piece)) or bool(_HEX.fullmatch(piece)) or ";" in piece or "=" in piece
