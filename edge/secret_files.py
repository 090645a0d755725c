"""Files that hold a password or a key: whose they are, and what is in them."""

from __future__ import annotations

import ssl
import stat
import unicodedata
from pathlib import Path

from edge.errors import SettingsError
from edge.files import read_text

_CHARACTERS_AT_MOST = 10_000


def read_secret(key: str, path: Path) -> str:
    """Return the one line of a file that only the service's user may read. `key`: of the settings, for the error.

    A byte order mark before it and the end of the line are left out.

    Raises SettingsError, without what was read.
    """
    require_private(key, path)
    try:
        text = read_text(path, _CHARACTERS_AT_MOST).removeprefix("\ufeff").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise _unusable(key, path, _reason(error)) from error
    if not text.strip():
        raise _unusable(key, path, "it is empty")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise _unusable(key, path, "it is not one line of text")
    if len(text) > _CHARACTERS_AT_MOST:
        raise _unusable(key, path, f"it has more than {_CHARACTERS_AT_MOST} characters")
    return text


def load_chain(context: ssl.SSLContext, key: str, cert_file: Path, key_file: Path) -> None:
    """Give a context its certificate and the key of it. `key`: where both stand in the settings, as `broker.tls`.

    Raises SettingsError for a key that others may read or that needs a password; OSError for what is no PEM.
    """

    def ask_nobody() -> str:  # in place of OpenSSL's own question, which would wait at a terminal
        raise SettingsError(
            f"key {key}.key_file: expected a key without a password, received {key_file}, which is "
            "encrypted. Write it without one (openssl pkey -in KEY -out NEW), readable by the service's user only"
        )

    require_file(f"{key}.cert_file", cert_file)
    require_private(f"{key}.key_file", key_file)
    context.load_cert_chain(cert_file, key_file, ask_nobody)


def require_file(key: str, path: Path) -> int:
    """Return the mode of a regular file. A pipe or a device could hold a line up for ever. Raises SettingsError."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _unusable(key, path, _reason(error)) from error
    if not stat.S_ISREG(mode):
        raise _unusable(key, path, "it is no file")
    return mode


def require_private(key: str, path: Path) -> None:
    """Refuse a secret that every user of the device may read or replace. Raises SettingsError."""
    mode = require_file(key, path)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SettingsError(
            f"key {key}: expected a file for the service's user only, received {path}, which every user of this device "
            f"may read or write (mode {stat.S_IMODE(mode):04o}). Run: chmod 0640 {path}"
        )


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is no UTF-8 text"


def _unusable(key: str, path: Path, why: str) -> SettingsError:
    return SettingsError(
        f"key {key}: expected a readable file, received {path} ({why}). Create it, readable by the service's user only"
    )
