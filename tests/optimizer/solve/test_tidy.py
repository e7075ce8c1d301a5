"""What a solver leaves is tidied into a plan that keeps its promises."""

from __future__ import annotations

import numpy as np
from measured import rented, workload
from measured import scenario as measured_scenario

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates import build_candidates
from optimizer.formulation import build_instance
from optimizer.solve.tidy import tidy


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


def test_what_is_not_served_stands_nowhere(catalog: Catalog) -> None:
    # Nothing is asked in the only period, and a solver may leave an owned server and a replica on it all the same.
    idle = workload(1, [("l4", 1, 1.0)], spare="n+1")
    keys = measured_scenario({"a": idle}, {"node": rented("l4", 1, 1.0, most=3)}, objective="served")
    loaded = load_scenario(keys, catalog)
    inst = build_instance(loaded, catalog, build_candidates(loaded, catalog)).serving(np.zeros(1))
    on_server = np.zeros(len(inst.sites.stand_cell), np.int64)
    on_server[0] = 1
    decision = tidy(inst, np.ones(1, np.int64), np.ones(1, np.int64), on_server)
    assert decision.n_replicas.tolist() == [0]
    assert decision.servers == {0: ()}
