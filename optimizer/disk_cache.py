"""Texts kept between runs in the user's cache folder: what is missing or damaged there is only made again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from optimizer.files import replace_file

KEPT_WHEN_FULL = 0.75
"""Part of the files that stays when there are too many; the oldest go."""


def user_cache_folder() -> Path:
    """Where programs of this user keep what can be made again; RuntimeError where the user has no home."""
    if stated := os.environ.get("XDG_CACHE_HOME"):
        return Path(stated)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    return Path.home() / ".cache"


class DiskCache:
    """Texts by key, a file each, at most about `most` of them.

    Files are written whole or not at all and carry a digest of key and text. A folder that cannot be read or written is
    an empty one: nothing here raises.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._room: int | None = None
        """Files that may be added before old ones go; None = not counted yet."""

    def get(self, key: str) -> str | None:
        """The text kept under a key; None if it is not there as it was written."""
        try:
            digest, _, text = self._path(key).read_text(encoding="utf-8").partition("\n")
        except (OSError, RuntimeError, UnicodeDecodeError):
            return None
        return text if digest == _digest(key, text) else None

    def put(self, key: str, text: str) -> None:
        """Keep a text, where the folder can be written."""
        with contextlib.suppress(OSError, RuntimeError):
            path = self._path(key)
            if not self._room:
                self._room = self._make_room(path.parent)
            replace_file(path, f"{_digest(key, text)}\n{text}")
            self._room -= 1

    def _path(self, key: str) -> Path:
        return user_cache_folder() / "gpuplan" / self._name / hashlib.sha256(key.encode()).hexdigest()

    def _make_room(self, folder: Path) -> int:
        """Files that may be added, at least one; the oldest go where there are too many."""
        folder.mkdir(parents=True, exist_ok=True)
        with os.scandir(folder) as found:
            files = sorted((entry.stat().st_mtime_ns, entry.path) for entry in found)
        if len(files) >= self._most:
            kept = int(KEPT_WHEN_FULL * self._most)
            for _, path in files[: len(files) - kept]:
                with contextlib.suppress(FileNotFoundError):  # another process makes room too
                    os.unlink(path)
            return self._most - kept
        return self._most - len(files)


def _digest(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\n{text}".encode()).hexdigest()
