"""Makes the helper modules of this folder importable from the folders below it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest
import silicon_package

from optimizer.performance import kernel_tables


@pytest.fixture
def silicon_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A stand-in for aiconfigurator-core, and an empty cache folder; gives the list of what was compiled."""
    silicon_package.install(tmp_path / "packages")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("aiconfigurator_core")}
    invalidate_caches()
    silicon_package.forget()
    yield import_module("aiconfigurator_core.sdk").EngineHandle.compiled
    for name in [name for name in sys.modules if name.startswith("aiconfigurator_core")]:
        del sys.modules[name]
    sys.modules.update(real)
    silicon_package.forget()


@pytest.fixture
def no_silicon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the extra were not installed."""
    monkeypatch.setattr(kernel_tables, "PACKAGE", "a-package-that-is-not-there")
    silicon_package.forget()
    yield
    silicon_package.forget()
