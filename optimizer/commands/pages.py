"""Pages as commands write them: HTML or Markdown, into a file or to stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import click

from optimizer.commands.command import Function, delivery

if TYPE_CHECKING:
    from optimizer.report.story import Page

PageForm = Literal["html", "md"]
ENDINGS: dict[str, PageForm] = {".html": "html", ".htm": "html", ".md": "md"}


def page_option(function: Function) -> Function:
    """The option --format of a command that writes pages."""
    choice = click.Choice(tuple(dict.fromkeys(ENDINGS.values())))
    return click.option("--format", "page_form", type=choice, help="Form of the page.  [default: by the ending of -O]")(
        function
    )


def asked_form(said: PageForm | None) -> PageForm | None:
    """The form that --format or the ending of -O asks for; None = none of them does."""
    path = delivery().path
    return said or (None if path is None else ENDINGS.get(path.suffix.lower()))


def page_form_of(said: PageForm | None) -> PageForm:
    """The form of a page: what is asked for, HTML where nothing is; InputError for the ending of another kind."""
    from optimizer.errors import InputError

    if delivery().form is not None:
        raise click.UsageError("this is a page: --format html or md, in place of -o")
    path, asked = delivery().path, asked_form(said)
    if asked is None and path is not None and path.suffix and not path.is_char_device():
        raise InputError(f"a page is HTML or Markdown, not {path.suffix}: end -O in .html or .md, or say --format")
    return asked or "html"


def write_page(page: Page, form: PageForm) -> None:
    """The one print of a command: a page."""
    from optimizer.report.story import page_html, page_markdown

    delivery().put_text(sys.stdout, page_markdown(page) if form == "md" else page_html(page))
