"""Where an answer goes and in what form: a stream or a file; a table, JSON or YAML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console, RenderableType

from optimizer.errors import InputError
from optimizer.files import write_file, write_files
from optimizer.report.data import Form, dump_document

AnyForm = Form | Literal["table"]
FORM_OF_ENDING: Mapping[str, Form] = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
PIPE_COLUMNS = 100
"""Width of a table that no terminal limits."""


def console(stream: TextIO) -> Console:
    """Plain text but on a terminal; what users named is never read as markup."""
    free = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, width=None if free else PIPE_COLUMNS, markup=False, emoji=False, highlight=False)


@contextmanager
def progress(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """A line that says what is going on, on a terminal only; yields what changes it."""
    if not stream.isatty():
        yield lambda _: None
        return
    with console(stream).status("reading") as status:
        yield status.update


@dataclass(frozen=True, slots=True)
class Delivery:
    """What -o and -O ask for."""

    form: AnyForm | None
    """None = a table, or what the ending of the path says."""
    path: Path | None

    def put(
        self,
        stream: TextIO,
        table: Callable[[], RenderableType],
        text: Callable[[Form], str],
        picture: Callable[[], str] | None = None,
    ) -> None:
        """Write an answer to the stream or into the path; `text` gives its `json` or `yaml`, `picture` its SVG.

        A path whose ending decides the form gets that, and the stream the table: one run, to read and to keep.
        """
        if self.path is None:
            _write(stream, self.form or "table", table, text)
            return
        if self.form is None and self.path.suffix.lower() == ".svg":
            if picture is None:
                raise InputError(f"there is no picture of this answer; write {self.path.with_suffix('.json')} instead")
            write_file(self.path, picture())
            _write(stream, "table", table, text)
            return
        form: AnyForm = self.form if self.form is not None else FORM_OF_ENDING.get(self.path.suffix.lower(), "table")
        written = StringIO()
        _write(written, form, table, text)
        write_file(self.path, written.getvalue())
        if self.form is None and form != "table":
            _write(stream, "table", table, text)

    def put_document(self, stream: TextIO, document: Mapping[str, Any], native: Form) -> None:
        """Write a document that has no table: in its `native` form unless JSON or YAML is asked for."""
        ending = FORM_OF_ENDING.get(self.path.suffix.lower()) if self.path else None
        text = dump_document(document, native if self.form == "table" else self.form or ending or native)
        if self.path is None:
            stream.write(text)
        else:
            write_file(self.path, text)

    def put_text(self, stream: TextIO, text: str) -> None:
        """Write a text as it is: into the path, whose name goes to the stream, or to the stream itself."""
        if self.path is None:
            stream.write(text)
        else:
            write_file(self.path, text)
            stream.write(f"{self.path}\n")

    def put_files(self, stream: TextIO, files: Mapping[str, str]) -> tuple[Path, ...]:
        """Write several files into the folder of the path, a single one into the path itself or to the stream.

        The paths written; their names go to the stream.
        """
        if self.path is None and len(files) > 1:
            raise InputError(f"these are {len(files)} files ({', '.join(files)}); say where with -O FOLDER")
        if self.path is None:
            stream.write("".join(files.values()))
            return ()
        if len(files) > 1 or self.path.is_dir():
            paths = write_files(self.path, files)
        else:
            write_file(self.path, "".join(files.values()))
            paths = (self.path,)
        stream.writelines(f"{path}\n" for path in paths)
        return paths


def _write(stream: TextIO, form: AnyForm, table: Callable[[], RenderableType], text: Callable[[Form], str]) -> None:
    if form != "table":
        stream.write(text(form))
    elif stream.isatty():
        console(stream).print(table(), crop=False)
    else:
        drawn = StringIO()
        console(drawn).print(table(), crop=False)
        stream.writelines(f"{line.rstrip()}\n" for line in drawn.getvalue().splitlines())
