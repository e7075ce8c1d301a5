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
    return click.option("--format", "page_form", type=choice, help="Of a page.  [default: by the ending of -O]")(
        function
    )


def asked_form(said: PageForm | None) -> PageForm | None:
    """The form that --format or the ending of -O asks for; null = none of them does."""
    path = delivery().path
    return said or (None if path is None else ENDINGS.get(path.suffix.lower()))


def write_page(page: Page, form: PageForm) -> None:
    """The one print of a command: a page."""
    from optimizer.report.story import page_html, page_markdown

    delivery().put_text(sys.stdout, page_markdown(page) if form == "md" else page_html(page))
