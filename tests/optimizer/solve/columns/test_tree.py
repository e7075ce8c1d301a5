"""Branches on counts of servers: their bound rises from that of prices towards whole servers, and never beyond."""

from __future__ import annotations

import pytest
from measured import rented, scenario, workload
from random_instances import instance

from catalog import Catalog
from optimizer.solve import Limits
from optimizer.solve.columns import solve_columns
from optimizer.solve.columns.blocks import cut_into_blocks
from optimizer.solve.columns.dual import Master, maximise
from optimizer.solve.columns.oracle import Oracle
from optimizer.solve.columns.tree import Branch, Tree
from optimizer.solve.plain import solve_plain


def rooted(catalog: Catalog, n_workloads: int) -> tuple[Tree, float]:
    """The tree of workloads that each take one GPU of servers of four, and its bound before any branch."""
    workloads = {f"w{i}": workload(1.0, [("l4", 1, 1.0)]) for i in range(n_workloads)}
    blocks = cut_into_blocks(instance(scenario(workloads, {"l4s": rented("l4", 4, 0.70)}), catalog))
    oracle, master = Oracle(blocks), Master(blocks)
    dual = maximise(blocks, oracle, master, lambda _bound: True)
    return Tree(Branch(blocks, dual), oracle, master), dual.bound_usd_per_hour


def test_a_split_server_is_branched_on_until_it_is_whole(catalog: Catalog) -> None:
    # Five GPUs of servers of four at 4 × $0.70: prices see 5/4 of a server, $3.50, where two are needed, $5.60.
    tree, root = rooted(catalog, 5)
    assert root == pytest.approx(3.5, rel=1e-4)
    assert tree.lowest is not None
    split = tree.lowest.split
    assert split is not None
    tree.part(split, lambda _bound: True)
    assert tree.bound_usd_per_hour == pytest.approx(5.6, rel=1e-4)
    assert tree.lowest.split is None


def test_a_closed_branch_counts_with_its_own_bound(catalog: Catalog) -> None:
    tree, root = rooted(catalog, 4)  # one server, whole
    assert tree.lowest is not None
    assert tree.lowest.split is None
    tree.close(2.8)
    assert tree.lowest is None
    assert tree.bound_usd_per_hour == pytest.approx(root, rel=1e-4) == pytest.approx(2.8)


@pytest.mark.parametrize("most", [2, 5])
def test_with_servers_branched_on_columns_prove_what_the_plain_method_does(most: int, catalog: Catalog) -> None:
    # Thirty workloads on two offers, of which the cheaper has few servers: neither count comes out whole of prices.
    workloads = {f"w{i}": workload(0.31 + 0.17 * i, [("l4", 1, 1.0), ("l40s", 1, 2.3)]) for i in range(30)}
    offers = {"l4s": rented("l4", 4, 0.70, most=most), "l40s": rented("l40s", 8, 1.9)}
    inst = instance(scenario(workloads, offers), catalog)
    by_columns, plain = solve_columns(inst, Limits(gap=0.0)), solve_plain(inst, Limits(gap=0.0))
    assert by_columns is not None
    assert by_columns.outcome == plain.outcome == "optimal"
    assert by_columns.bound_usd_per_hour == pytest.approx(plain.bound_usd_per_hour, rel=1e-6)
