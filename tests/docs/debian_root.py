"""A Debian of its own, made by debootstrap, in which commands run as a user pastes them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# This machine's way to its package registries: the root has to go the same way.
_REGISTRIES = ("/etc/pip.conf", "/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
_CONFIGURED = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


class DebianRoot:
    """A minimal Debian at `path`; commands run in `home`, a copy of the checkout."""

    def __init__(self, path: Path, checkout: Path) -> None:
        self.path, self.home = path, "/root/linewatch"
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates,sudo,systemd", SUITE, str(path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        for name in _REGISTRIES:
            if Path(name).is_file():
                (target := path / name[1:]).parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copyfile(name, target)
        for own in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
            shutil.copy(own, path / "etc/apt/apt.conf.d")
        ignored = shutil.ignore_patterns(".venv*", ".git", "out", "build", "__pycache__", ".*_cache", "*.egg-info")
        shutil.copytree(checkout, path / self.home[1:], ignore=ignored)
        (path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # packages start nothing here
        (path / "usr/sbin/policy-rc.d").chmod(0o755)

    def type(self, line: str, *, alone: bool = False) -> subprocess.CompletedProcess[str]:
        """Run what a user types. `alone`: with a network of its own; all that it leaves running ends with it."""
        environment = {"PATH": _PATH, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        environment |= {key: value for key, value in os.environ.items() if key.upper().startswith(_CONFIGURED)}
        inside = ["chroot", str(self.path), "bash", "-c", f"cd {self.home} && {line}"]
        if alone:
            apart = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c"]
            begin = f'ip link set lo up && mount -t proc proc {shlex.quote(str(self.path / "proc"))} && exec "$@"'
            inside = [*apart, begin, "sh", *inside]
        return subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=1500, check=False)
