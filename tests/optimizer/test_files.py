"""Files are written whole or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest

from optimizer.errors import InputError
from optimizer.files import read_text, write_file, write_files, write_new_file


def test_a_file_appears_whole_with_its_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path / "new" / "a.txt", "ä\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä\n".encode()
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("", encoding="utf-8")
    write_file(tmp_path / "a.txt", "")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "a.txt", "half \ud800")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text(encoding="utf-8") == "new"


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_file(Path(os.devnull), "gone")
    assert not Path(os.devnull).is_file()


def test_what_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="is a folder"):
        write_file(tmp_path, "")
    with pytest.raises(InputError, match="choose another place"):
        write_file(tmp_path / "file" / "below", "")
    with pytest.raises(InputError, match="give -O a folder"):
        write_files(tmp_path / "file", {"a": "", "b": ""})


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_written_outside_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outside"):
        write_files(tmp_path / "in", {"fine": "", name: ""})
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    write_new_file(tmp_path / "a.txt", "mine")
    with pytest.raises(InputError, match="exists and is left as it is"):
        write_new_file(tmp_path / "a.txt", "yours")
    with pytest.raises(InputError, match="cannot write"):
        write_new_file(tmp_path / "no" / "folder", "")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "mine"


def test_a_stream_is_read_as_utf_8_with_or_without_its_mark() -> None:
    assert read_text(BytesIO(b"\xef\xbb\xbfname: a")) == "name: a"
    with pytest.raises(InputError, match="not UTF-8 text \\(byte 3\\)"):
        read_text(BytesIO(b"ab\xff"))
