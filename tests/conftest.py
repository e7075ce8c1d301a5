"""Options and fixtures of all tests."""

from __future__ import annotations

import pytest

from catalog import Catalog, load_catalog


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="rewrite the golden files, then read the diff")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The shipped catalog."""
    return load_catalog()
