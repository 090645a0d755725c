"""Hide what must not be read: passwords in URLs, GStreamer pipelines and query strings."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):(?P<password>\S*)@", re.IGNORECASE)
_NAMED = re.compile(r"(?P<name>(?:user-pw|password|passwd|pwd|pass|token|secret)\s*[=:]\s*)[^\s&!,;]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """Replace passwords by ***: rtsp://user:secret@host → rtsp://user:***@host; user-pw=…, password=…, pwd=… alike."""
    return _NAMED.sub(r"\g<name>***", _USER_INFO.sub(r"\g<scheme>\g<user>:***@", text))
