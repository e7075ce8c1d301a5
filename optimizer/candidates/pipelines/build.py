"""The candidates of a workload that stand on several offers: searched, rated, and those worth keeping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from catalog import Catalog
from catalog.architecture import architecture_of
from catalog.schema import KvFormat, Model, WeightFormat
from optimizer.candidates.asked import served_context_tokens
from optimizer.candidates.enumerate import TENSOR_DEGREES, kv_formats, kv_quality, weight_formats, weight_quality
from optimizer.candidates.pipelines.grounds import STAGES, Ground, grounds
from optimizer.candidates.pipelines.quality import Quality
from optimizer.candidates.pipelines.rate import best, rated
from optimizer.candidates.pipelines.search import Search, Split
from optimizer.candidates.pipelines.stages import Axes, StageTimes, batches
from optimizer.candidates.spec import Candidates, ReplicaSpec, StageSpec
from optimizer.candidates.starts import Starts
from optimizer.memory import flag_defaults
from optimizer.performance.traits import weights_class
from optimizer.scenario import Offer, Scenario, Workload
from optimizer.scenario.pipelines import (
    ENGINES_OF_SINGLE_GPU_STAGES,
    ENGINES_OF_UNEQUAL_STAGES,
    FORMATS_BY_LAYER,
)
from optimizer.serving_config import Configurations, FloatArray, Links, links_over


def pipeline_candidates(
    name: str, workload: Workload, here: Mapping[str, Offer], scenario: Scenario, catalog: Catalog
) -> Candidates:
    """Replicas of a workload over several of the offers `here`, each at the offer of its first stage.

    Every class is served or the replica is none. Of each set of offers, degree and choice of formats the best are kept.
    """
    rejected: Counter[str] = Counter()
    specs: list[ReplicaSpec] = []
    rates: list[FloatArray] = []
    n_looked_at = 0
    engines = [engine for engine in workload.engines if engine in ENGINES_OF_UNEQUAL_STAGES]
    if workload.dp is None or 1 in workload.dp:
        for ground in grounds(here, catalog):
            for model in workload.models:
                for engine in engines:
                    finder = _Finder(workload, ground, scenario, catalog, catalog.models[model], engine)
                    found, rate_rps = finder.run()
                    specs += found
                    rates.append(rate_rps)
                    rejected.update(finder.rejected)
                    n_looked_at += finder.n_looked_at
    rate_rps = np.concatenate([np.zeros((0, len(workload.request_classes))), *rates])
    kept = best(specs, rate_rps)
    offers = list(scenario.inventory)
    return Candidates(
        workload=name,
        specs=tuple(specs[k] for k in kept.tolist()),
        offer=np.array([offers.index(specs[k].stages[0].offer) for k in kept.tolist()], np.int64),
        gpus_per_replica=np.array([specs[k].gpus for k in kept.tolist()], np.int64),
        rate_rps=rate_rps[kept],
        n_evaluated=n_looked_at,
        rejected=dict(+rejected),
    )


def unbeaten(found: Candidates, on_one: Candidates, offers: Sequence[str], *, mix: bool) -> Candidates:
    """Without those that a replica on a single offer beats: where one of their stages stands it serves all as fast.

    It must be in the same choice of formats, unless these may `mix`. `offers` names the scenario's.
    """
    kept = []
    for k, spec in enumerate(found.specs):
        here = np.isin(on_one.offer, [offers.index(stage.offer) for stage in spec.stages])
        here &= on_one.gpus_per_replica <= spec.gpus // len(spec.stages)
        here &= (on_one.rate_rps >= found.rate_rps[k]).all(axis=1)
        if not any(mix or on_one.specs[j].choice == spec.choice for j in np.flatnonzero(here).tolist()):
            kept.append(k)
    return replace(
        found,
        specs=tuple(found.specs[k] for k in kept),
        offer=found.offer[kept],
        gpus_per_replica=found.gpus_per_replica[kept],
        rate_rps=found.rate_rps[kept],
    )


class _Finder:
    """Finds the pipelines of one model and engine on one ground."""

    def __init__(
        self, workload: Workload, ground: Ground, scenario: Scenario, catalog: Catalog, model: Model, engine: str
    ) -> None:
        self.workload, self.ground, self.scenario, self.catalog = workload, ground, scenario, catalog
        self.model, self.engine = model, engine
        self.weights, self.caches = self._weights(), self._caches()
        self.max_model_len = served_context_tokens(workload, model.max_context_tokens)
        self.rejected: Counter[str] = Counter()
        self.n_looked_at = 0
        self._links_over: dict[tuple[int, ...], tuple[Links, ...]] = {}

    def run(self) -> tuple[list[ReplicaSpec], FloatArray]:
        """Those that hold every target, and their rates [n, R]."""
        workload, batch, no_rates = self.workload, batches(self.workload.max_batch_size), self._no_rates()
        degrees = self._degrees()
        if not degrees or not self.weights:
            return [], no_rates
        axes = Axes(batch, self._step_tokens(int(batch[-1])), degrees, self.max_model_len)
        times = StageTimes(self._shape(), self.ground, axes, workload, self.catalog.calibration)
        search = Search(workload, times, self._quality())
        splits = search.run()
        self.rejected, self.n_looked_at = search.rejected, search.n_looked_at
        if not splits:
            return [], no_rates
        specs = [self._spec(split) for split in splits]
        found, rate_rps = rated(specs, np.array([one.is_fullest for one in splits]), self.workload, self.catalog)
        self.rejected["latency of pipelines"] += len(specs) - len(found)
        return found, rate_rps

    def _degrees(self) -> tuple[int, ...]:
        """Of tensor parallelism, that the model, the engine and the servers allow."""
        n_heads, single = architecture_of(self.model).n_heads, self.engine in ENGINES_OF_SINGLE_GPU_STAGES
        return tuple(
            tp
            for tp in self.workload.tp or TENSOR_DEGREES
            if n_heads % tp == 0 and (tp == 1 or not single) and any(self.ground.sets(STAGES[0], tp))
        )

    def _no_rates(self) -> FloatArray:
        return np.zeros((0, len(self.workload.request_classes)))

    def _weights(self) -> tuple[WeightFormat, ...]:
        """Formats named by the workload; else of each width those that most of the cards run. The best first.

        One of these for all layers, and one that each layer may have or not.
        """
        known = weight_formats(self.workload, self.catalog, self.model)
        if self.workload.weight_dtypes is None:
            chosen: dict[tuple[str, bool], WeightFormat] = {}
            for one in sorted(filter(self._n_cards, known), key=lambda one: -self._n_cards(one)):
                chosen.setdefault((weights_class(one), False), one)
                if one.id in FORMATS_BY_LAYER[self.engine]:
                    chosen.setdefault((weights_class(one), True), one)
            known = tuple(dict.fromkeys(chosen.values()))
        return tuple(sorted(known, key=lambda one: -weight_quality(one, self.model)))

    def _n_cards(self, weights: WeightFormat) -> int:
        return sum(weights.compute_dtype(self.engine, gpu) is not None for gpu in self.ground.gpus)

    def _caches(self) -> tuple[KvFormat, ...]:
        """Types named by the workload; else of each width the one that most of the cards know."""
        known = kv_formats(self.workload, self.catalog)
        if self.workload.kv_cache_dtypes is not None:
            return known

        def n_cards(one: KvFormat) -> int:
            return sum(one.supported_on(self.engine, gpu) for gpu in self.ground.gpus)

        chosen: dict[float, KvFormat] = {}
        for one in sorted(filter(n_cards, known), key=lambda one: -n_cards(one)):
            chosen.setdefault(one.bytes_per_value, one)
        return tuple(chosen.values())

    def _quality(self) -> Quality:
        return Quality(
            weights=[weight_quality(one, self.model) for one in self.weights],
            caches=[kv_quality(one) for one in self.caches],
            by_layer=[i for i, one in enumerate(self.weights) if one.id in FORMATS_BY_LAYER[self.engine]],
            least=self.workload.min_quality_fraction,
        )

    def _shape(self, n_rows: int = 0) -> Configurations:
        """With `n_rows`, of the first formats on each card in turn."""
        none, ones = np.zeros(n_rows, np.int64), np.ones(n_rows, np.int64)
        return Configurations(
            self.model, self.catalog.engines[self.engine], None, self.ground.gpus, self.weights, self.caches,
            np.arange(n_rows), none, none, ones, ones, ones, ones, links=self.ground.links,
        )  # fmt: skip

    def _step_tokens(self, most_sequences: int) -> tuple[int, ...]:
        """Worth trying, from what the card with the smallest default is started with: all stages are told the same."""
        cards = self._shape(len(self.ground.gpus))
        defaults = flag_defaults(cards, max_num_seqs=np.full(len(cards), most_sequences))
        least = defaults.take(np.argsort(defaults.max_num_batched_tokens, kind="stable")[:1])
        return tuple(dict.fromkeys(Starts.of(self.workload, least).tokens[:, 0].tolist()))

    def _spec(self, split: Split) -> ReplicaSpec:
        stages = tuple(self._stages(split))
        setting, formats = split.setting, dict.fromkeys(stage.weight_dtype for stage in stages)
        return ReplicaSpec(
            gpu=stages[0].gpu,
            gpus=setting.tp * setting.n_stages,
            model=self.model.id,
            weight_dtype="+".join(formats),
            kv_cache_dtype=self.caches[setting.kv_format].id,
            engine=self.engine,
            tp=setting.tp,
            pp=setting.n_stages,
            dp=1,
            ep=1,
            max_batch_size=split.batch,
            max_model_len=self.max_model_len,
            max_num_batched_tokens=setting.step_tokens,
            stages=stages,
        )

    def _stages(self, split: Split) -> Iterator[StageSpec]:
        first = 0
        for s, links, weights, end in zip(
            split.offers, self._links(split.offers), split.weights, split.ends, strict=True
        ):
            gpu = self.ground.gpus[self.ground.place[s]].id
            yield StageSpec(self.ground.offers[s], gpu, first, end - 1, self.weights[weights].id, links)
            first = end

    def _links(self, offers: tuple[int, ...]) -> tuple[Links, ...]:
        """Of stages on these offers."""
        if offers not in self._links_over:
            among = [self.scenario.inventory[self.ground.offers[s]] for s in offers]
            network = self.catalog.calibration.network_gb_per_s
            self._links_over[offers] = tuple(links_over(offer, among, network) for offer in among)
        return self._links_over[offers]
