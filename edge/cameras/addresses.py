"""Addresses of network cameras: taken apart without guessing, and what went wrong there in one sentence."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from urllib.parse import quote, unquote

from edge.errors import SourceError
from edge.redacting import HOST, redacted

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt", "mms", "mmsh")
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
# These send without being asked: there is nobody to look for.
_LISTENING = {"udp", "rtp"}
# A host rather than a user or a piece of a path: a name with a dot, an address, localhost.
_NAMES_A_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.%]+\]|localhost|\d+\.\d+\.\d+\.\d+|[^\s:/?#@]+\.[^\s:/?#@.]*[A-Za-z][^\s:/?#@.]*)(?=[:/?#]|$)"
)


@dataclass(frozen=True)
class Address:
    """A network camera. `url`: for FFmpeg, with user and password in percent encoding; never to be shown."""

    url: str
    shown: str
    scheme: str
    host: str
    port: int | None


def parse_address(source: str) -> Address:
    """Take a URL apart. Raises SourceError, without a secret, where it is none or could be read in two ways.

    A password may hold @, #, / and : as they are, as long as only one @ can be the one before the host.
    """
    shown = redacted(source)
    scheme, separator, rest = source.strip().partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise SourceError(
            f"{shown} is no address of a camera: expected {', '.join(f'{each}://' for each in SCHEMES)}; of a file "
            "give the path alone"
        )
    if any(ord(character) < 0x20 for character in rest):
        raise SourceError("the address holds a control character; write it in percent encoding")
    signs_in, place = _apart(rest)
    matched = re.match(rf"(?P<host>{HOST})(?=[/?#]|$)", place)
    if not matched:
        raise SourceError(f"expected host or host:port after {scheme}://, and a port from 1 to 65535")
    host, port = _host_and_port(matched["host"])
    shown = redacted(f"{scheme}://{'user@' if signs_in else ''}{place.replace('@', '%40')}")
    if signs_in is not None:
        user, colon, password = signs_in.partition(":")
        signs_in = _encoded(user) + (f":{_encoded(password)}" if colon else "")
    url = f"{scheme}://{f'{signs_in}@' if signs_in else ''}{place.replace(' ', '%20')}"
    return Address(url, shown, scheme, host, port or _PORTS.get(scheme))


def _apart(rest: str) -> tuple[str | None, str]:
    """Part user:password from host and path at the one @ that can stand between them."""
    whole = rf"{HOST}(?:[/?#].*)?"
    ways = [at.start() for at in re.finditer("@", rest) if re.fullmatch(whole, rest[at.end() :])]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and re.fullmatch(whole, rest):
        # 10.0.0.1:554/path@1 has its @ in the path; user:12/3@camera could be a user with a password as well
        hosts = [
            rest[way + 1 :] for way in ways if not rest[way + 1].isdecimal() or _NAMES_A_HOST.match(rest[way + 1 :])
        ]
        if hosts and ":" in authority and not _NAMES_A_HOST.match(authority):
            raise _two_ways()
        return None, rest
    if "@" in authority:
        # after the last @ before the path, as browsers and FFmpeg read it, unless one in the path fits as well
        last = len(authority) - len(authority.rpartition("@")[2]) - 1
        if last in ways and all(way <= last for way in ways):
            return rest[:last], rest[last + 1 :]
    if not ways:
        return None, rest
    if len(ways) > 1:
        # p@ss/w@10.0.0.1: one way leads to what is plainly a host, the others to a word without a dot or a port
        plain = [way for way in ways if _NAMES_A_HOST.match(rest[way + 1 :])]
        words = [way for way in ways if re.match(r"[^\s:/?#@.]+(?=[/?#])", rest[way + 1 :])]
        if len(plain) != 1 or len(plain) + len(words) != len(ways):
            raise _two_ways()
        ways = plain
    return rest[: ways[0]], rest[ways[0] + 1 :]


def _two_ways() -> SourceError:
    return SourceError(
        "the address can be read in two ways, for it is not clear which @ stands before the host; write %40 "
        "for @, %23 for #, %2F for / and %3F for ? in the password or the path"
    )


def _encoded(text: str) -> str:
    """Return text in percent encoding; encoded parts stay as they are."""
    return quote(unquote(text), safe="")


def _host_and_port(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        return text.strip("[]"), None
    if not 1 <= int(port) <= 65535:
        raise SourceError(f"expected a port from 1 to 65535, received {port}")
    return host.strip("[]"), int(port)


def resolve(address: Address) -> None:
    """Look the host's name up. Raises SourceError where there is none of that name."""
    if address.scheme in _LISTENING:
        return
    try:
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceError(f"the name {address.host} is not known: check it, and the network's name server") from error


def why_not(error: Exception, address: Address, waited_s: float, limit_s: float) -> str:
    """Return one sentence that says why a network camera could not be opened or read.

    The vendor's words are not in it. FFmpeg quotes the address and pieces of it, which may be pieces of a password.
    """
    name = type(error).__name__
    place = f"{address.host}:{address.port}" if address.port else address.host
    if name in _SENTENCES:
        return _SENTENCES[name].format(place=place)
    if waited_s >= 0.9 * limit_s:
        return (
            f"nothing that can be read came from {place} within {limit_s:g} s: the camera or the network hangs, or "
            "another service answers there"
        )
    if isinstance(error, EOFError):
        return f"{place} ended the connection"
    told = _NUMBERS.get(getattr(error, "errno", None) or 0, "")
    return (
        told.format(place=place)
        or f"what {place} sends is no video that can be read ({name}): check scheme, port and path"
    )


_SENTENCES = {
    "HTTPUnauthorizedError": "the camera refuses user or password (401): check both in the address",
    "HTTPForbiddenError": "the camera forbids this user the stream (403): give the user the right to see it",
    "HTTPNotFoundError": "the camera has no such stream (404): check the path of the address",
    "HTTPBadRequestError": "the camera does not understand the request (400): check the address",
    "HTTPTooManyRequestsError": "the camera serves too many already (429): end another viewer",
    "HTTPOtherClientError": "the camera refuses the stream (4xx): check the address, and how many others look at it",
    "HTTPServerError": "the camera has a fault of its own (5xx): look at its own page, or restart it",
    "ProtocolNotFoundError": "this PyAV cannot speak that protocol: use rtsp:// or http://",
}
_NUMBERS = {
    errno.ECONNREFUSED: "{place} refuses the connection: nothing serves at that port; check port and camera",
    errno.ECONNRESET: "{place} ended the connection",
    errno.EPIPE: "{place} ended the connection",
    errno.ETIMEDOUT: "{place} does not answer: check its power, cable and address",
    errno.ENETUNREACH: "the network of {place} cannot be reached: check this device's cable and its network settings",
    errno.EHOSTUNREACH: "{place} cannot be reached: check the camera's power, cable and address",
    errno.EIO: "{place} cannot be read: the connection failed",
}
