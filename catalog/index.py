"""Writes `catalog/data/index.json`: the shipped entries already parsed, so that loading need not read YAML.

Run `python -m catalog.index` after a change below `catalog/data`. An entry of the index counts only while its digest is
that of the file as it is, so a forgotten run costs time, never truth; a test asks for it all the same.
"""

from __future__ import annotations

import json
import os

from catalog.documents import ENTRY_SUFFIXES, digest_of, parse_entry, read_files
from catalog.loader import DATA, INDEX


def index_text() -> str:
    """The index of the files as they are, one line a file."""
    lines = []
    for path, content in read_files(DATA).items():
        if path.suffix in ENTRY_SUFFIXES:
            cached = {"sha256": digest_of(content), "entry": parse_entry(path, content)}
            name = json.dumps(path.relative_to(DATA).as_posix())
            lines.append(f"{name}: {json.dumps(cached, ensure_ascii=False, separators=(',', ':'))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_index() -> None:
    """Put the index in place, whole or not at all."""
    unfinished = INDEX.with_suffix(".tmp")
    unfinished.write_text(index_text(), encoding="utf-8")
    os.replace(unfinished, INDEX)


if __name__ == "__main__":
    write_index()
