"""Files are written whole or not at all, into a temporary neighbour that is then renamed; text is read as UTF-8."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from optimizer.errors import InputError


def read_text(stream: BinaryIO) -> str:
    """All text of a stream such as stdin."""
    try:
        return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start + 1}); expected a YAML or JSON file") from error


def write_file(path: Path, text: str) -> None:
    """Put `text` into `path`, making its folder; a reader sees the old file or the new one, never a half."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, and there is one file to write; give -O a file name")
    try:
        if path.exists() and not path.is_file():  # a device such as /dev/stdout cannot be replaced
            path.write_text(text, encoding="utf-8")
        else:
            replace_file(path.resolve(), text)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


def write_files(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Put texts into a folder under their names, which may hold sub-folders; the paths written, in order."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and there are {len(texts)} files to write; give -O a folder")
    for name in texts:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"refusing to write {name!r}: it lies outside {folder}")
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise InputError(f"refusing to write {folder / name}: a link there leads out of {folder}; remove it")
    paths = tuple(folder / name for name in texts)
    for path, text in zip(paths, texts.values(), strict=True):
        write_file(path, text)
    return paths


def write_new_file(path: Path, text: str) -> None:
    """Put `text` into a file that is not there yet; one that is there stays as it is and raises InputError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"{path} exists and is left as it is; move it away or choose another name with -O") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


def replace_file(path: Path, text: str) -> None:
    """Put `text` into `path`, making its folder, whole or not at all; OSError where that cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes a private file; an answer is as readable as any other
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
