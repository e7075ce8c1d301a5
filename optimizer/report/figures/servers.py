"""Servers as boxes of GPUs, each GPU in the colour of the workload that it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.report.figures.marks import LINE, WIDTH, bar, colour, legend, picture, text

GAP, CELL_HEIGHT = 3.0, 20.0
PER_ROW, FEWEST = 16, 8
"""Most GPUs side by side, larger servers take another row; and for how many there is room at least."""
MOST_SERVERS = 40
"""Drawn one by one; of more, the first ones stand for the rest, and a line says how many there are."""


@dataclass(frozen=True, slots=True)
class ServerBox:
    """One server."""

    name: str
    note: str
    """Term and power."""
    gpus: tuple[tuple[str, str] | None, ...]
    """(workload, replica's number) of each GPU; null = idle."""
    region: str = ""
    """Said once above the servers that follow each other in it."""


def server_chart(title: str, servers: Sequence[ServerBox]) -> str:
    """A server a row: its name, what is said of it, and its GPUs."""
    drawn_servers = servers[:MOST_SERVERS]
    workloads = list(dict.fromkeys(use[0] for server in drawn_servers for use in server.gpus if use is not None))
    position = {name: at for at, name in enumerate(workloads)}
    idle = any(use is None for server in drawn_servers for use in server.gpus)
    side_by_side = min(PER_ROW, max((len(server.gpus) for server in drawn_servers), default=1))
    cell = WIDTH / max(FEWEST, side_by_side) - GAP
    drawn, y = legend(workloads, 0.0)
    if idle:
        drawn += [bar(0, y - 2, 10, 10, "idle"), text(15, y + 7, "idle")]
        y += LINE
    region = ""
    for server in drawn_servers:
        if server.region != region:
            region = server.region
            y += LINE + 2
            inside = sum(one.region == region for one in servers)
            drawn.append(text(0, y, f"{region} ({inside:,} server{'s' if inside != 1 else ''})", "region"))
        y += LINE - 2
        drawn.append(text(0, y, server.name, "strong", width=WIDTH * 0.55))
        drawn.append(text(WIDTH, y, server.note, "soft", "end"))
        y += 5
        for at, use in enumerate(server.gpus):
            x, top = (at % PER_ROW) * (cell + GAP), y + (at // PER_ROW) * (CELL_HEIGHT + GAP)
            hint = f"GPU {at}: idle" if use is None else f"GPU {at}: {use[0]}/{use[1]}"
            drawn.append(bar(x, top, cell, CELL_HEIGHT, "idle" if use is None else colour(position[use[0]]), hint))
            if use is not None:
                drawn.append(text(x + cell / 2, top + 14, use[1][:4], "in", "middle"))
        y += -(-len(server.gpus) // PER_ROW) * (CELL_HEIGHT + GAP) + 4
    if len(servers) > MOST_SERVERS:
        drawn.append(
            text(0, y + 10, f"and {len(servers) - MOST_SERVERS:,} more servers; the table has them all", "soft")
        )
        y += LINE
    return picture(title, y + 2, drawn)
