"""An authority and certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _openssl(*how: object) -> None:
    subprocess.run(["openssl", *map(str, how)], check=True, capture_output=True)


def make_authority(folder: Path, name: str = "ca") -> Path:
    """Make NAME.pem and NAME.key in `folder`; return the former."""
    pem, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-keyout", key, "-out", pem, *subject)
    return pem


def make_certificate(folder: Path, authority: Path, name: str, also: str = "DNS:localhost") -> tuple[Path, Path]:
    """Make NAME.pem, signed by an authority for the names in `also`, and NAME.key; return both."""
    pem, key, asked, names = (folder / f"{name}.{kind}" for kind in ("pem", "key", "csr", "ext"))
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", asked, "-subj", f"/CN={name}")
    names.write_text(f"subjectAltName={also}\n")
    signer = ("-CA", authority, "-CAkey", authority.with_suffix(".key"), "-CAcreateserial")
    _openssl("x509", "-req", "-in", asked, *signer, "-days", 2, "-out", pem, "-extfile", names)
    return pem, key
