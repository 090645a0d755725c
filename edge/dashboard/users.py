"""People who may look or command: a file of users with scrypt hashes, sessions that end, a bound on guesses."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from edge.errors import SettingsError
from edge.files import replacing
from edge.strict_json import read_json

Role = Literal["viewer", "operator", "engineer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
PASSWORD_AT_LEAST = 10
PASSWORD_AT_MOST = 200
USERS_AT_MOST = 500
# RFC 7914; some 50 ms and 32 MiB for one password
_N, _R, _P, _LENGTH = 2**15, 8, 1, 32
_MEMORY = 64 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

IDLE_S = 30 * 60.0
ENDS_S = 12 * 3600.0
VIEWER_ENDS_S = 30 * 86_400.0
LINK_S = 30 * 60.0
SESSIONS_AT_MOST = 1_000


@dataclass(frozen=True)
class User:
    """One user. `salt`, `hash`: of the password by scrypt, hexadecimal."""

    name: str
    role: Role
    salt: str
    hash: str


def hashed(name: str, role: Role, password: str) -> User:
    """Return a user with this password. Raises SettingsError for a name, role or password that cannot be one."""
    if _NAME.fullmatch(name) is None:
        raise SettingsError(f"Expected a name of letters, digits, dot, hyphen and underscore; received {name!r:.80}")
    if role not in ROLES:
        raise SettingsError(f"Expected a role of {', '.join(ROLES)}; received {role!r:.80}")
    if not PASSWORD_AT_LEAST <= len(password) <= PASSWORD_AT_MOST:
        raise SettingsError(
            f"Expected a password of {PASSWORD_AT_LEAST} to {PASSWORD_AT_MOST} characters, received {len(password)}"
        )
    salt = secrets.token_bytes(16)
    return User(name, role, salt.hex(), _scrypt(password, salt).hex())


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_LENGTH)


class UserFile:
    """The file of users. It is read again whenever it has changed, so that one who was removed is out at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}
        self._lock = threading.Lock()

    def users(self) -> Mapping[str, User]:
        """Return the users by name; none where there is no file. Raises SettingsError for one that is no such file."""
        with self._lock:
            try:
                stat = self.path.stat()
            except FileNotFoundError:
                self._seen, self._users = None, {}
                return {}
            except OSError as error:
                raise self._unusable(str(error.strerror)) from error
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self._users, self._seen = self._read(), seen
            return dict(self._users)

    def save(self, users: Mapping[str, User]) -> None:
        """Write the users, whole, for the service's user only. Raises SettingsError."""
        told = {"users": [vars(user) for user in users.values()]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as unfinished:
                unfinished.touch(mode=0o600)
                unfinished.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise self._unusable(f"it cannot be written: {error.strerror}") from error

    def _read(self) -> dict[str, User]:
        if self.path.stat().st_mode & 0o006:
            raise self._unusable(f"every user of this device may read or write it. Run: chmod 0600 {self.path}")
        try:
            told = read_json(self.path)
            users = [User(**entry) for entry in told["users"]]
            sound = all(
                _NAME.fullmatch(user.name)
                and user.role in ROLES
                and bytes.fromhex(user.salt)
                and bytes.fromhex(user.hash)
                for user in users
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unusable(f"it is no file of users: {error}") from error
        if not sound or len(users) > USERS_AT_MOST:
            raise self._unusable("it is no file of users")
        return {user.name: user for user in users}

    def _unusable(self, why: str) -> SettingsError:
        return SettingsError(
            f"key users: expected a file of `linewatch dashboard-user`, received {self.path}: {why}. Nobody is let in "
            "by it; mend it, or remove it and add the users again"
        )


class Guesses:
    """Bounds how often somebody may try a password: five times, then after a wait that doubles. Time is an argument."""

    _FREE, _FIRST_S, _LONGEST_S, _REMEMBERED = 5, 2.0, 300.0, 5_000

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[int, float]] = {}

    def wait_s(self, who: str, now_s: float) -> float:
        """Return for how long `who` must not try yet; 0 = now."""
        count, last_s = self._wrong.get(who, (0, 0.0))
        if count < self._FREE:
            return 0.0
        longest_s = min(self._LONGEST_S, self._FIRST_S * 2.0 ** (count - self._FREE))
        return max(0.0, last_s + longest_s - now_s)

    def wrong(self, who: str, now_s: float) -> None:
        """Note a wrong password."""
        if len(self._wrong) >= self._REMEMBERED:
            oldest = min(self._wrong, key=lambda name: self._wrong[name][1])
            del self._wrong[oldest]
        self._wrong[who] = (min(50, self._wrong.pop(who, (0, 0.0))[0] + 1), now_s)

    def right(self, who: str) -> None:
        """Forget the wrong ones."""
        self._wrong.pop(who, None)


@dataclass(frozen=True)
class Session:
    """Somebody who has logged in. `csrf`: what each form of theirs must carry."""

    user: str
    role: Role
    csrf: str
    begun_s: float
    acted_s: float
    known: bool = True

    def may(self, role: Role) -> bool:
        """Tell whether this role is enough for what `role` may do."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Access:
    """Logs people in and out. `monotonic_s`: the clock of sessions.

    A session of a viewer ends after 30 days. Any other may command until nobody has acted for half an hour, then only
    look; after twelve hours it ends.
    """

    def __init__(self, file: UserFile, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._file, self._monotonic_s = file, monotonic_s
        self._sessions: dict[str, Session] = {}
        self._links: dict[str, tuple[str, Role, float]] = {}
        self._guesses = Guesses()
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()

    @property
    def has_users(self) -> bool:
        """Tell whether anybody can log in; an unreadable file counts as one, so that nobody is let in by mistake."""
        try:
            return bool(self._file.users())
        except SettingsError:
            return True

    @property
    def trouble(self) -> str:
        """Return why nobody can log in though there is a file of users; empty where all is well."""
        try:
            self._file.users()
        except SettingsError as error:
            return str(error)
        return ""

    def log_in(self, name: str, password: str, address: str) -> tuple[str | None, float]:
        """Return the token of a new session, or None and for how many seconds no other try is taken."""
        now_s = self._monotonic_s()
        whom = (f"name {name[:64]}", f"address {address}")
        with self._lock:
            wait_s = max(self._guesses.wait_s(who, now_s) for who in whom)
        if wait_s > 0:
            return None, wait_s
        user = self._file.users().get(name)
        salt = bytes.fromhex(user.salt) if user is not None else b"nobody has it   "
        with self._one_at_a_time:  # or a crowd of tries would take all memory
            found = _scrypt(password[:PASSWORD_AT_MOST], salt)
        if user is None or not hmac.compare_digest(found, bytes.fromhex(user.hash)):
            with self._lock:
                for who in whom:
                    self._guesses.wrong(who, now_s)
                return None, max(self._guesses.wait_s(who, now_s) for who in whom)
        with self._lock:
            for who in whom:
                self._guesses.right(who)
        return self._begin(user.name, user.role, known=True), 0.0

    def _begin(self, name: str, role: Role, *, known: bool) -> str:
        token, now_s = secrets.token_urlsafe(32), self._monotonic_s()
        with self._lock:
            if len(self._sessions) >= SESSIONS_AT_MOST:
                oldest = min(self._sessions, key=lambda key: self._sessions[key].acted_s)
                del self._sessions[oldest]
            self._sessions[_digest(token)] = Session(name, role, secrets.token_urlsafe(24), now_s, now_s, known)
        return token

    def log_out(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(token), None)

    def session(self, token: str | None, *, acts: bool) -> Session | None:
        """Return whose session this is as it is now; None for nobody's. `acts`: somebody does something just now."""
        if not token:
            return None
        key, now_s = _digest(token), self._monotonic_s()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            ends_s = VIEWER_ENDS_S if session.role == "viewer" else ENDS_S
            if now_s - session.begun_s >= ends_s or not self._still(session):
                del self._sessions[key]
                return None
            if session.role != "viewer" and now_s - session.acted_s >= IDLE_S:
                return replace(session, role="viewer")
            if acts:
                session = self._sessions[key] = replace(session, acted_s=now_s)
            return session

    def _still(self, session: Session) -> bool:
        """Tell whether the user is still there, with the role that the session has."""
        if not session.known:  # of a one-time link
            return True
        try:
            user = self._file.users().get(session.user)
        except SettingsError:
            return False
        return user is not None and user.role == session.role

    def one_time_link(self, name: str, role: Role) -> str:
        """Return a token that logs somebody in once, within half an hour, without a password."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._links[_digest(token)] = (name, role, self._monotonic_s())
        return token

    def enter(self, token: str) -> str | None:
        """Take a one-time link and return the token of a new session.

        None for a link that is used, late or none.
        """
        with self._lock:
            name, role, made_s = self._links.pop(_digest(token), ("", "viewer", -LINK_S))
        if not name or self._monotonic_s() - made_s >= LINK_S:
            return None
        return self._begin(name, role, known=False)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
