"""The command that puts a plan under traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from optimizer.commands.command import Amount, answer, command, the_catalog
from optimizer.commands.reading import sound_plan
from optimizer.commands.running import NOT_SOUND, SOUND


@command("simulate", example="gpuplan simulate quickstart.plan.json --arrivals bursty --duration 30min")
@click.argument("plan")
@click.option("--arrivals", type=click.Choice(("poisson", "bursty", "trace")),
              help="[default: as the scenario says, or trace when one is given]")  # fmt: skip
@click.option("--cv", type=click.FloatRange(0, 10, min_open=True),
              help="Coefficient of variation of the gaps between bursty arrivals.  [default: 2]")  # fmt: skip
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE",
              help="CSV: arrived_at, num_prefill_tokens, num_decode_tokens.")  # fmt: skip
@click.option("--rate", "rate_rps", type=Amount("rate", "RATE"), help="Such as 12/s.  [default: what was planned for]")
@click.option("--duration", "duration_s", type=Amount("duration", "DURATION_S"), default="15min", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--pooling", is_flag=True, help="Find what the replicas carry with requests sent to the least loaded one."
)
def simulate(plan: str, pooling: bool, **traffic: Any) -> None:
    """Put a plan under traffic, step by step.

    Says which latency targets hold, with 95% intervals; exits 1 when one is missed beyond what chance explains.
    """
    from optimizer.report.simulation import simulation_data, simulation_report
    from optimizer.scenario import load_scenario
    from optimizer.simulation import pooling_gain, simulate_plan, traffic_of

    catalog = the_catalog()
    layout = sound_plan(plan, catalog)
    asked = traffic_of(layout, **traffic)
    scenario = load_scenario(layout.inputs, catalog)
    outcome = simulate_plan(layout, scenario, catalog, asked)
    gained = pooling_gain(layout, scenario, catalog, asked) if pooling else None
    answer(lambda: simulation_report(layout, outcome, gained), simulation_data(layout, outcome, gained))
    click.get_current_context().exit(SOUND if outcome.holds else NOT_SOUND)
