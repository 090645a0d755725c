"""The web process as a whole: history, site, collector and web server, from settings to the last page."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from edge.dashboard.app import make_app
from edge.dashboard.collector import Collector
from edge.dashboard.history import History
from edge.dashboard.pages import Pages
from edge.dashboard.settings import DashboardSettings, require_safe
from edge.dashboard.site import Site
from edge.dashboard.users import Access, UserFile
from edge.errors import SettingsError, StoreError
from edge.inspection.trying import Tries
from edge.secret_files import load_chain

_ENDS_WITHIN_S = 2
_BACKLOG = 128
_REQUEST_BYTES = 16_384


@dataclass(frozen=True)
class Dashboard:
    """A web process that runs. `url`: its address; `access` makes one-time links."""

    url: str
    access: Access
    site: Site
    collector: Collector
    pages: Pages
    server: threading.Thread


@contextmanager
def dashboard(settings: DashboardSettings, tries: Tries | None = None) -> Iterator[Dashboard]:
    """Run a web process until left. Raises SettingsError, StoreError, before anything is served.

    `tries`: who inspects pictures that people try; None = nobody does.
    """
    access = Access(UserFile(settings.users))
    require_safe(settings, users=access.has_users)
    listening = _listening(settings)
    history_of = settings.history
    try:
        with History(history_of.path, history_of.days, history_of.megabytes) as history:
            site = Site(settings, history)
            with Collector(settings, site) as collector:
                app, pages = make_app(site, collector, access)
                pages.tries = tries
                server = uvicorn.Server(_configured(app, settings))
                thread = threading.Thread(target=server.run, args=([listening],), name="web", daemon=True)
                thread.start()
                try:
                    while not server.started and thread.is_alive():
                        time.sleep(0.01)
                    yield Dashboard(_url(settings, listening), access, site, collector, pages, thread)
                finally:
                    pages.stopping.set()
                    server.should_exit = True
                    thread.join(_ENDS_WITHIN_S + 5)
    finally:
        listening.close()


def _configured(app: object, settings: DashboardSettings) -> uvicorn.Config:
    tls = settings.tls
    try:
        if tls is not None:  # uvicorn's own context would ask a terminal for the password of a key
            load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "tls", tls.cert_file, tls.key_file)
        return _loaded(
            uvicorn.Config(
                app,  # type: ignore[arg-type] # Starlette is an ASGI application
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_ENDS_WITHIN_S,
                limit_concurrency=1_000,
                h11_max_incomplete_event_size=_REQUEST_BYTES,
                ssl_certfile=None if tls is None else tls.cert_file,
                ssl_keyfile=None if tls is None else tls.key_file,
            )
        )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"key tls: expected readable PEM files, received cert_file {tls and tls.cert_file}, key_file "
            f"{tls and tls.key_file}: {error}. Check their paths, rights and contents"
        ) from error


def _loaded(config: uvicorn.Config) -> uvicorn.Config:
    config.load()
    return config


def _listening(settings: DashboardSettings) -> socket.socket:
    """Take the address before anything else begins. Raises StoreError where somebody has it, or nobody may."""
    host, port = settings.listen.host.strip("[]"), settings.listen.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise StoreError(
            f"No page can be served at {host}:{port}: {error.strerror or error}. Stop what listens there, or name "
            "another port with --port or the key listen.port"
        ) from error
    return listening


def _url(settings: DashboardSettings, listening: socket.socket) -> str:
    host = settings.listen.host.strip("[]")
    host = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls is None else 'https'}://{host}:{listening.getsockname()[1]}/"
