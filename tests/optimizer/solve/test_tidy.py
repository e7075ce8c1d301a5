"""What a solver leaves is tidied into a plan that keeps its promises."""

from __future__ import annotations

from catalog import Catalog
from optimizer import load_scenario, optimize, verify


def test_free_servers_do_not_tempt_a_workload_into_two_formats(catalog: Catalog) -> None:
    # Owned servers cost nothing here, so nothing keeps a solver from replicas that carry no load.
    scenario = load_scenario(
        {
            "name": "free servers",
            "workloads": {
                "w0": {
                    "model": "meta-llama/Llama-3.3-70B-Instruct",
                    "requests": "6.63/s",
                    "classes": {
                        "s": {"share": "70%", "input_tokens": 194, "output_tokens": 100},
                        "l": {"share": "30%", "input_tokens": {"p50": 2000, "p95": 18717}, "output_tokens": 400},
                    },
                    "slo": "throughput",
                }
            },
            "inventory": {
                "o0": {"gpu": "mi300x", "gpus_per_server": 4, "rent": {"price": "$0.76/gpu/h"}, "own": 2},
                "o1": {"gpu": "a100-80gb-sxm", "gpus_per_server": 1, "rent": {"price": "$1.87/gpu/h"}, "own": 2},
                "o2": {"gpu": "b200-sxm", "gpus_per_server": 8, "rent": {"price": "$1.18/gpu/h"}},
            },
        },
        catalog,
    )
    layout = optimize(scenario, catalog)
    assert layout.status == "optimal"
    assert len({group.weight_dtype for group in layout.workloads[0].replica_groups}) == 1
    assert verify(layout, scenario, catalog) == []
