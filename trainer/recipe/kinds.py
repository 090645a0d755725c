"""Settings that come in kinds: `kind: x` chooses the model that the other keys belong to."""

from __future__ import annotations

from typing import Any

from pydantic import Discriminator


def by_kind(*kinds: str) -> Discriminator:
    """Return what chooses among models tagged with their kinds; a wrong kind is told with those that there are.

    pydantic's own `discriminator="kind"` does not go together with the strictness of StrictModel.
    """
    return Discriminator(
        _kind, custom_error_type="unknown_kind", custom_error_message=f"expected kind as one of: {', '.join(kinds)}"
    )


def _kind(value: Any) -> str | None:
    found = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return found if isinstance(found, str) else None
