"""Texts kept on disk come back as they were written or not at all, and do not pile up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from optimizer.disk_cache import DiskCache, user_cache_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gpuplan" / "things"


def test_what_was_put_is_got(folder: Path) -> None:
    cache = DiskCache("things", most=10)
    assert cache.get("a key") is None
    cache.put("a key", "two\nlines")
    assert DiskCache("things", most=10).get("a key") == "two\nlines"
    assert DiskCache("others", most=10).get("a key") is None
    assert len(list(folder.iterdir())) == 1  # nothing temporary stays


def test_what_is_not_as_it_was_written_is_not_there(folder: Path) -> None:
    cache = DiskCache("things", most=10)
    cache.put("one", "1")
    cache.put("two", "2")
    first, second = sorted(folder.iterdir())
    first.write_bytes(second.read_bytes())  # whole, but under another key
    second.write_bytes(b"\xff\xfe")
    assert (cache.get("one"), cache.get("two")) == (None, None)


def test_the_oldest_go_where_there_are_too_many(folder: Path) -> None:
    # Room for 8, of which 6 stay when it is full: the ninth finds 8 files, and the two oldest go
    cache = DiskCache("things", most=8)
    for i in range(8):
        cache.put(str(i), "text")
        os.utime(cache._path(str(i)), ns=(i, i))
    cache.put("8", "text")
    assert [cache.get(str(i)) is None for i in range(9)] == [True, True, *[False] * 7]
    assert len(list(folder.iterdir())) == 7


def test_a_folder_that_cannot_be_written_is_an_empty_one(folder: Path) -> None:
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file where the folder should be")
    cache = DiskCache("things", most=10)
    cache.put("key", "text")
    assert cache.get("key") is None


def test_a_stated_folder_wins_over_the_systems_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_cache_folder() == tmp_path
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.platform", "linux")
    assert user_cache_folder() == tmp_path / "home" / ".cache"
