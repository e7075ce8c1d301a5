"""The catalog of facts: models, GPUs, number formats, engines and prices, with their sources."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalog.loader import Catalog, load_catalog

__all__ = ["Catalog", "load_catalog"]


def __getattr__(name: str) -> Any:
    """Import the loader when it is first asked for: `gpuplan --help` needs no catalog."""
    if name in __all__:
        return getattr(import_module("catalog.loader"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
