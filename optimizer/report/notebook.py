"""A plan as a notebook shows it: the recommendation, the purchase list and the servers."""

from __future__ import annotations

from catalog import load_catalog
from optimizer.layout import Layout
from optimizer.report.story import page_fragment, summary_blocks
from optimizer.scenario import load_scenario


def layout_html(layout: Layout) -> str:
    """HTML to stand inside another page, or plain text for a plan without servers."""
    catalog = load_catalog()
    return page_fragment(summary_blocks(layout, load_scenario(layout.inputs, catalog), catalog))
