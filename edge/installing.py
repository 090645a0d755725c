"""Advice to install what is missing. Never by the name `linewatch[…]`: on a package index that name is not ours."""

from __future__ import annotations


def how_to_install(*packages: str, extra: str) -> str:
    """Say how the packages are installed, by their own names or with the others of their extra from a checkout.

    >>> how_to_install("onnxruntime", extra="desktop")
    "Install it with: pip install onnxruntime; or in Linewatch's folder: pip install -c requirements.lock '.[desktop]'"
    """
    names = " ".join(packages)
    what = "it" if len(packages) == 1 else "them"
    return (
        f"Install {what} with: pip install {names}; "
        f"or in Linewatch's folder: pip install -c requirements.lock '.[{extra}]'"
    )
