"""The silicon backend: tabulated once, one handle for each model, and clear words for what it cannot do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest

from catalog import Catalog
from catalog.errors import InputError
from optimizer.performance import PerformanceEstimate, estimate_performance, silicon


class FakeHandle:
    """A step takes 10 ms and 0.01 a sequence and 1,000 tokens of context, a prefill 0.1 ms a token; models differ."""

    compiled: tuple[tuple[Any, ...], ...] = ()

    def __init__(self, slower: float) -> None:
        self.slower = slower

    @classmethod
    def compile(cls, model: str, system: str, backend: str, **settings: Any) -> FakeHandle:
        FakeHandle.compiled += ((model, system, backend, settings["gemm_quant_mode"], settings["moe_tp_size"]),)
        if "14B" in model:
            raise KeyError("no rows for this model")
        return cls(2.0 if "32B" in model else 1.0)

    def predict_decode_latency(self, batch: int, context: int, outputs: int) -> float:  # noqa: ARG002
        return self.slower * (10.0 + 0.01 * batch * context / 1000)

    def predict_prefill_latency(self, batch: int, tokens: int) -> float:
        return self.slower * 0.1 * batch * tokens


@pytest.fixture
def facade(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fake: Any = ModuleType("aiconfigurator_core.sdk")
    fake.EngineHandle = FakeHandle
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", ModuleType("aiconfigurator_core"))
    monkeypatch.setitem(sys.modules, "aiconfigurator_core.sdk", fake)
    FakeHandle.compiled = ()
    silicon._tables.cache_clear()
    yield
    silicon._tables.cache_clear()


def estimate(catalog: Catalog, **changes: Any) -> PerformanceEstimate:
    question: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": "h100-sxm", "weight_dtype": "fp8", "concurrency": 1,
                                "input_tokens": 1000, "output_tokens": 500, "performance": "silicon"}  # fmt: skip
    return estimate_performance(catalog, **{**question, **changes})


@pytest.mark.usefixtures("facade")
def test_steps_and_prefills_are_those_of_the_tables(catalog: Catalog) -> None:
    # Alone: 10 + 0.01 × 1.25 ms at 1000 tokens and half of 500 of context; its prefill 1000 × 0.1 = 100 ms and a step
    one = estimate(catalog)
    assert one.tpot_ms == pytest.approx(10.0, abs=0.05)
    assert one.ttft_parts["prefill"] == pytest.approx(100.0, rel=0.01)
    assert sum(one.parts.values()) == pytest.approx(one.tpot_ms)
    assert one.source == "aiconfigurator-core"
    assert estimate(catalog, performance="calibrated").source != one.source


@pytest.mark.usefixtures("facade")
def test_each_model_has_its_own_handle_and_is_tabulated_once(catalog: Catalog) -> None:
    for concurrency in (1, 8, 64):
        estimate(catalog, concurrency=concurrency)
    assert estimate(catalog, model="Qwen/Qwen3-32B").tpot_ms == pytest.approx(2 * estimate(catalog).tpot_ms, rel=0.001)
    assert FakeHandle.compiled == (
        ("Qwen/Qwen3-8B", "h100_sxm", "vllm", "fp8", 1),
        ("Qwen/Qwen3-32B", "h100_sxm", "vllm", "fp8", 1),
    )


@pytest.mark.usefixtures("facade")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu": "rtx-4090"}, "do not know card rtx-4090"),
        ({"engine": "llamacpp", "weight_dtype": "gguf-q8_0"}, "do not know engine llamacpp"),
        ({"weight_dtype": "int8"}, "do not know weight format int8"),
        ({"model": "Qwen/Qwen3-14B"}, "have no figures for Qwen/Qwen3-14B in fp8 on h100_sxm"),
        ({"speculative": "ngram", "acceptance_fraction": 0.5}, "not used with drafted tokens yet"),
    ],
)
def test_what_the_tables_do_not_hold_is_refused(changes: dict[str, Any], message: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match=message):
        estimate(catalog, **changes)


def test_without_the_extra_it_says_how_to_install_it(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiconfigurator_core.sdk", None)
    silicon._tables.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'gpuplan\[silicon\]'"):
        estimate(catalog)


@pytest.mark.skipif(find_spec("aiconfigurator_core") is None, reason="needs pip install 'gpuplan[silicon]'")
def test_the_package_itself_times_a_known_model(catalog: Catalog) -> None:
    # Qwen3-32B in fp8 over two H100: 16 GB of weights each take 5 ms to read at rated speed, and real steps about twice
    one = estimate(catalog, model="Qwen/Qwen3-32B", tp=2)
    assert 5.0 < one.tpot_ms < 20.0
