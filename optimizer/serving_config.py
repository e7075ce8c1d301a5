"""How one replica is run: model, card, formats, engine and parallel degrees, for one configuration or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Engine, Gpu, KvFormat, Model, WeightFormat
from catalog.units import BITS_PER_BYTE
from optimizer.scenario import Offer, Speculation

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
StringArray = NDArray[np.str_]
Value = TypeVar("Value")


class Links(NamedTuple):
    """What an offer says of the links among a replica's cards."""

    domain_gpus: int | None
    """GPUs that the fast link joins; None = as the card has it."""
    between_servers: bool
    """Pipeline stages hand over from server to server."""
    network_gb_per_s: float | None
    """Between servers; None = as the calibration takes it, or not used."""


def links_on(offer: Offer, *, between_servers: bool) -> Links:
    """The links among the cards of a replica on that offer, inside a server or over several."""
    network = offer.network_gbit_per_s if between_servers else None
    return Links(offer.link_domain_gpus, between_servers, None if network is None else network / BITS_PER_BYTE)


def links_over(offer: Offer, among: Iterable[Offer], network_gb_per_s: float) -> Links:
    """The links of a stage on an offer in a pipeline over several, which hands over at the slowest of their networks.

    `network_gb_per_s` is that of an offer that does not say.
    """
    stated = [network_gb_per_s if o.network_gbit_per_s is None else o.network_gbit_per_s / BITS_PER_BYTE for o in among]
    return Links(offer.link_domain_gpus, True, min(stated))


def of_cards(gpus: Sequence[Gpu], value: Callable[[Gpu], Value]) -> list[Value]:
    """A value of each card, asked once of one that stands there with several kinds of links."""
    known = {key: value(gpu) for key, gpu in {id(gpu): gpu for gpu in gpus}.items()}
    return [known[id(gpu)] for gpu in gpus]


def sequences_per_rank(batch: IntArray, dp: IntArray) -> IntArray:
    """Of a replica's batch, on each attention rank: what engines count, and their memory depends on."""
    return -(-batch // dp)


@dataclass(frozen=True, slots=True)
class Configurations:
    """n ways to run a replica of one model on one engine, as parallel arrays.

    Everything downstream (memory, performance, candidates) is computed for all n at once. Cards and formats are small
    tuples that the arrays index, so that a fact about a card is looked up once and spread with `take`.
    """

    model: Model
    engine: Engine
    engine_version: str | None  # None = the newest version the catalog describes
    gpus: tuple[Gpu, ...]
    weight_formats: tuple[WeightFormat, ...]
    kv_formats: tuple[KvFormat, ...]
    gpu: IntArray  # [n] index into gpus
    weight_format: IntArray  # [n] index into weight_formats
    kv_format: IntArray  # [n] index into kv_formats
    tp: IntArray  # [n]
    pp: IntArray  # [n]
    dp: IntArray  # [n] attention data parallelism inside the replica
    ep: IntArray  # [n] 1 = experts are tensor-sharded
    links: tuple[Links | None, ...] = field(default=(), kw_only=True)
    """Of each of `gpus` on its offer; None, or no links at all = judged by the card alone."""
    speculation: Speculation | None = field(default=None, kw_only=True)
    """How tokens are drafted; None = they are not."""
    drafter: Model | None = field(default=None, kw_only=True)
    """The small model that drafts, where one does."""

    def __len__(self) -> int:
        return len(self.gpu)

    @property
    def gpus_per_replica(self) -> IntArray:
        """[n] GPUs of one replica: tp · pp · dp."""
        return self.tp * self.pp * self.dp

    @property
    def gpus_per_stage(self) -> IntArray:
        """[n] GPUs of one pipeline stage, which never leave a server: tp · dp."""
        return self.tp * self.dp

    @property
    def links_of_cards(self) -> tuple[Links | None, ...]:
        """For each of `gpus`."""
        return self.links or (None,) * len(self.gpus)

    @property
    def fast_link_gpus(self) -> IntArray:
        """[n] GPUs that the card's fast link joins; 0 where it has none."""
        joined = [
            0
            if gpu.link_gb_per_s is None
            else links.domain_gpus
            if links and links.domain_gpus
            else gpu.link_domain_gpus
            for gpu, links in zip(self.gpus, self.links_of_cards, strict=True)
        ]
        return np.array(joined, np.int64)[self.gpu]

    def take(self, rows: IntArray | BoolArray) -> Configurations:
        """The chosen rows, in that order."""
        columns = (self.gpu, self.weight_format, self.kv_format, self.tp, self.pp, self.dp, self.ep)
        return Configurations(
            self.model, self.engine, self.engine_version, self.gpus, self.weight_formats, self.kv_formats,
            *(column[rows] for column in columns), links=self.links, speculation=self.speculation,
            drafter=self.drafter,
        )  # fmt: skip


def drafter_of(speculation: Speculation | None, models: Mapping[str, Model]) -> Model | None:
    """The small model that drafts, where a draft is one that is known."""
    if speculation is None or speculation.method != "draft_model":
        return None
    return models.get(str(speculation.draft))


def one_configuration(
    model: Model,
    engine: Engine,
    engine_version: str | None,
    gpu: Gpu,
    weight_format: WeightFormat,
    kv_format: KvFormat,
    *,
    tp: int = 1,
    pp: int = 1,
    dp: int = 1,
    ep: int = 1,
    links: Links | None = None,
    speculation: Speculation | None = None,
    drafter: Model | None = None,
) -> Configurations:
    """A single configuration, for the questions that are asked one at a time."""
    zero = np.zeros(1, np.int64)
    degrees = (np.array([degree], np.int64) for degree in (tp, pp, dp, ep))
    return Configurations(
        model,
        engine,
        engine_version,
        (gpu,),
        (weight_format,),
        (kv_format,),
        zero,
        zero,
        zero,
        *degrees,
        links=(links,),
        speculation=speculation,
        drafter=drafter,
    )
