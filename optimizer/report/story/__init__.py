"""The purchase report: sections of words, tables and pictures, in the order in which a buyer asks."""

from optimizer.report.story.comparison import comparison_page, comparison_picture
from optimizer.report.story.html import page_fragment, page_html
from optimizer.report.story.markdown import page_markdown
from optimizer.report.story.parts import Page
from optimizer.report.story.purchase import purchase_page, summary_blocks
from optimizer.report.story.whatif import WhatIf, explore

__all__ = [
    "Page",
    "WhatIf",
    "comparison_page",
    "comparison_picture",
    "explore",
    "page_fragment",
    "page_html",
    "page_markdown",
    "purchase_page",
    "summary_blocks",
]
