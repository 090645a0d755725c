"""`linewatch dashboard`: pages for people, of what stations say over MQTT; and `dashboard-user`, who may see them."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.console import errors, output, stop_on_signals, warn
from edge.errors import DependencyError, SettingsError
from edge.files import read_text
from edge.installing import how_to_install
from edge.wording import command

# Of a file with a password; a longer one is another file.
_CHARACTERS_AT_MOST = 10_000
_PACKAGES = ("starlette", "uvicorn", "jinja2", "python-multipart")
_MODULES = ("starlette", "uvicorn", "jinja2", "multipart")
Config = Annotated[
    Path,
    typer.Argument(help="a station's settings, or a file of the dashboard's own (docs/dashboard.md)", readable=False),
]


class Act(str, Enum):
    """One act on the users."""

    ADD = "add"
    REMOVE = "remove"
    LIST = "list"


class RoleName(str, Enum):
    """The roles, from the least on."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the `linewatch` command."""
    app.command(epilog="Example: `linewatch dashboard config/line.yaml --port 8080`")(dashboard)
    app.command(
        "dashboard-user", epilog="Example: `linewatch dashboard-user config/line.yaml add anna --role operator`"
    )(dashboard_user)


def require_packages() -> None:
    """Raise DependencyError where the packages of the extra `dashboard` are not all there."""
    from importlib.util import find_spec

    missing = [name for name, module in zip(_PACKAGES, _MODULES, strict=True) if find_spec(module) is None]
    if missing:
        raise DependencyError(
            f"The dashboard needs {', '.join(missing)}. {how_to_install(*missing, extra='dashboard')}"
        )


def dashboard(
    config: Config,
    *,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="in place of the settings' own")] = None,
    host: Annotated[str | None, typer.Option("--host", help="in place of the settings' own")] = None,
) -> None:
    """Serve pages for people until stopped: how stations stand, what they saw, and their alarms.

    It hears the broker, keeps a history of its own, and gives commands over MQTT. Without users everybody on this
    device may look and nobody may command. Beyond loopback it needs TLS and users. Exit codes: 3 settings, 7 the extra
    `dashboard` is not installed, 8 the port or the history is in use.
    """
    with stop_on_signals() as stop:
        require_packages()
        from edge.dashboard.serving import dashboard as serving
        from edge.dashboard.settings import load_dashboard_settings

        settings = load_dashboard_settings(config).listening_at(host, port)
        if settings.broker.plaintext_warning is not None:
            warn(settings.broker.plaintext_warning)
        with _tries(settings.try_config) as tries, serving(settings, tries) as served:
            if served.access.trouble:
                warn(served.access.trouble)
            if not served.access.has_users:
                told = command("linewatch", "dashboard-user", config, "add", "NAME", "--role", "operator")
                warn(f"there are no users: everybody on this device may look, and nobody may command. Add one: {told}")
            errors.print(f"{served.url} shows {', '.join(settings.sites)}; Ctrl-C ends it")
            while not stop.wait(0.2) and served.server.is_alive():
                pass
    errors.print("stopped")


def _tries(config: Path | None) -> Any:
    """Return who inspects pictures that people try; nobody where no settings say how."""
    from contextlib import nullcontext

    from edge.app.trials import PictureTrials

    return nullcontext() if config is None else PictureTrials(config)


def dashboard_user(
    config: Config,
    act: Annotated[Act, typer.Argument(help="what to do")],
    name: Annotated[str | None, typer.Argument(help="the user")] = None,
    role: Annotated[RoleName, typer.Option("--role", help="what the user may do")] = RoleName.VIEWER,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", help="file with the password; - = standard input; else it is asked"),
    ] = None,
) -> None:
    """Add, change, remove or list the users of the dashboard.

    viewer: looks. operator: acknowledges, resets, shelves, judges. engineer: changes recipe and bypass too. admin: all.
    A user who is removed or whose role changes is out at once; the dashboard need not be started again.
    """
    from edge.dashboard.settings import load_dashboard_settings
    from edge.dashboard.users import UserFile, hashed

    file = UserFile(load_dashboard_settings(config).users)
    users = dict(file.users())
    if act is Act.LIST:
        for user in users.values():
            output.print(f"{user.name} {user.role}")
        return
    if name is None:
        raise typer.BadParameter(f"{act.value}: expected the name of a user, received none")
    if act is Act.REMOVE:
        if name not in users:
            raise SettingsError(f"Expected a user of {file.path}, received {name!r:.80}. See who is there with: list")
        del users[name]
    else:
        users[name] = hashed(name, role.value, _password(password_file))
    file.save(users)
    output.print(f"{file.path}: {name} {'removed' if act is Act.REMOVE else role.value}")


def _password(file: Path | None) -> str:
    """Return the password from a file or standard input, or ask for it twice. Raises SettingsError."""
    if file is None:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    try:
        text = _standard_input() if str(file) == "-" else read_text(file, _CHARACTERS_AT_MOST)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--password-file: expected a readable text file, received {file}: {error}") from error
    return text.rstrip("\r\n")


def _standard_input() -> str:
    if sys.stdin is None:
        raise ValueError("there is no standard input")
    return sys.stdin.readline(_CHARACTERS_AT_MOST + 1)
