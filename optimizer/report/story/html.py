"""A page as one HTML file: no script, nothing from outside, light and dark, for screens, phones and paper."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from optimizer.report.figures import STYLE
from optimizer.report.story.parts import Block, Page

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup


def page_html(page: Page) -> str:
    """The file; the same page gives the same bytes, and no name in it is read as markup."""
    return _template().render(page=page, figure_style=STYLE) + "\n"


def page_fragment(blocks: tuple[Block, ...]) -> str:
    """Blocks with the styles that they need, to stand inside another page such as a notebook."""
    module: Any = _template().make_module({"page": None, "figure_style": STYLE})
    return str(module.styled(blocks))


def _with_code(text: str) -> Markup:
    """Escaped text in which what stands between backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment: Environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["with_code"] = _with_code
    return environment.from_string(files("optimizer.report.story").joinpath("page.html.j2").read_text(encoding="utf-8"))
