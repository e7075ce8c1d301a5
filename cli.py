"""The command `gpuplan`, made of the commands in optimizer/commands."""

from __future__ import annotations

import click

from optimizer.commands import (
    batching,
    calibrating,
    catalog,
    explaining,
    plans,
    replicas,
    reporting,
    scenarios,
    simulating,
    solving,
)
from optimizer.commands.running import Gpuplan

COMMANDS = (
    scenarios.init,
    scenarios.check,
    scenarios.schema,
    solving.solve,
    explaining.explain,
    explaining.pareto,
    batching.batch,
    plans.verify,
    plans.compare,
    simulating.simulate,
    plans.export,
    reporting.report,
    replicas.memory,
    replicas.perf,
    calibrating.calibrate,
    catalog.catalog_commands,
)


@click.group(cls=Gpuplan, commands=COMMANDS, epilog="\b\nExample:\n  gpuplan init && gpuplan solve quickstart.yaml")
@click.version_option(package_name="gpuplan", message="gpuplan %(version)s")
def main() -> None:
    """Decide which GPUs to own, buy or rent to serve language models, and how to run them on these.

    Exit codes: 0 solved or sound, 1 not sound or unexpected, 2 usage, 3 invalid input, 4 proven infeasible, 5 no plan
    within the time limit, 130 interrupted. GPUPLAN_DEBUG=1 shows where the unexpected happened.
    """


if __name__ == "__main__":
    main()
