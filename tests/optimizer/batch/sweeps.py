"""A small base scenario and sweeps over it."""

from __future__ import annotations

from pathlib import Path

# Measured replicas: no physics, so that a scenario is solved in milliseconds. One replica serves 2/s at 80 % = 1.6/s.
BASE = """\
name: base
workloads:
  chat.v2:
    model: Qwen/Qwen3-8B
    requests: 1/s
    input_tokens: 100
    output_tokens: 50
    measured: [{gpu: l40s, gpus: 1, requests_per_s: {all: 2}}]
inventory:
  small: {gpu: l40s, gpus_per_server: 1, rent: {price: $1/gpu/h, max: 3}}
"""
PRICES = """\
base: base.yaml
set:
  workloads.chat.v2.requests: [1/s, 2/s, 9/s]
  inventory.small.rent.price: [$1/gpu/h, $2.50/gpu/h]
"""
MANY = PRICES.replace("[$1/gpu/h, $2.50/gpu/h]", "{from: $1/gpu/h, to: $3/gpu/h, steps: 30}").replace("9/s]", "3/s]")
"""3 × 30 = 90."""


def write(folder: Path, sweep: str = PRICES, base: str = BASE, name: str = "prices.sweep.yaml") -> Path:
    """The sweep's file, beside its base."""
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    path = folder / name
    path.write_text(sweep, encoding="utf-8")
    return path
