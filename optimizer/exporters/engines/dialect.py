"""What an engine's module says of it, and what it is told of a planned replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from catalog.schema import Gpu, Model
from optimizer.layout import Drafts, ReplicaGroup
from optimizer.memory import ReplicaMemory
from optimizer.topology import Replica

Setting = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Planned:
    """A predicted replica group, nothing about it unknown, and what its memory was computed with."""

    model: Model
    gpu: Gpu
    weight_dtype: str
    kv_cache_dtype: str
    """In the engine's own spelling."""
    tp: int
    pp: int
    dp: int
    ep: int
    layers: tuple[int, ...]
    """Of each pipeline stage."""
    max_batch_size: int
    max_model_len: int
    drafts: Drafts | None
    """How tokens are drafted; null = they are not."""
    memory: ReplicaMemory
    """Of this one replica, by the engine's own arithmetic; where stages differ, as if they were alike."""
    weights_gib: float
    """Of the whole replica, where stages are alike from the rank that holds most."""

    @property
    def sequences_per_rank(self) -> int:
        """Of the batch, on each attention rank."""
        return int(self.memory.max_num_seqs[0])

    @property
    def prefill_tokens(self) -> int:
        """Most tokens of one step, on each attention rank."""
        return int(self.memory.max_num_batched_tokens[0])

    @property
    def memory_fraction(self) -> float:
        """Of whatever this engine takes a fraction of."""
        return float(self.memory.utilization_fraction[0])


@dataclass(frozen=True, slots=True)
class Node:
    """One server's part in a replica over several; rank and address may be variables."""

    nodes: str
    rank: str
    address: str
    port: int
    follows: bool
    """Whether it serves no requests itself."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a replica over several servers has of one of them; the address may be a variable."""

    address: str
    gpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loan:
    """What servers lend to the one that runs a replica."""

    endpoints: tuple[str, ...]
    """Address and port of each lender; the address may be a variable."""
    n_gpus: tuple[int, ...]
    """That each of them lends."""
    of_stages: tuple[tuple[int, int], ...]
    """Of each pipeline stage the lender, one beyond the last for the server itself, and which of its GPUs."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one engine is started."""

    name: str
    """As people write it."""
    release: str
    """The version that is started where the plan names none."""
    program: tuple[str, ...]
    """Words before the options."""
    image_program: tuple[str, ...]
    """The same inside the container image; empty = the image begins with them."""
    images: Mapping[str, str]
    """Official images by vendor, with `{release}` in the tag."""
    health_path: str
    cache_folder: str
    """Where the image keeps downloaded models."""
    kv_cache_dtypes: Mapping[str, str]
    """Our ids -> the engine's spelling."""
    online_quantization: Mapping[str, Mapping[str, Setting]]
    """`Engine.formats_made_while_loading` -> the settings for that."""
    settings: Callable[[Planned], dict[str, Setting]]
    """Options without their dashes, in a fixed order, without the checkpoint."""
    model_words: Callable[[str], tuple[str, ...]]
    """Words that name the checkpoint."""
    model_key: str | None
    """The option that names it, where a configuration file may hold it."""
    listen_words: Callable[[int], tuple[str, ...]]
    """Words that open a port to all."""
    node_words: Callable[[Node], tuple[str, ...]] | None
    """Words that join servers into one replica, each started by itself; null = not so."""
    gpus_in_rank_order: Callable[[Replica, str], tuple[int, ...]]
    """A replica's GPUs on one server in the order in which the engine numbers its ranks."""
    start_over_servers: Callable[[Sequence[Share], Sequence[str]], tuple[str, ...]] | None = None
    """A command on the first server that runs the given words on all; null = not so."""
    layers_environment: Callable[[Sequence[int]], Mapping[str, str]] = lambda _layers: {}
    """Variables that say how many layers each pipeline stage takes where these differ; none where options do."""
    lend_words: Callable[[Planned, int, int], tuple[str, ...]] | None = None
    """A command that lends so many GPUs at a port to the server that runs the replica; null = not so."""
    borrow_words: Callable[[Planned, Loan], tuple[str, ...]] | None = None
    """Words that make use of what others lend; null = not so."""
    cannot: Callable[[Planned], str] = lambda _planned: ""
    """Why the engine cannot be started as planned; empty when it can."""


def command_line(settings: Mapping[str, Setting]) -> list[str]:
    """The settings as words of a command line, all strings."""
    words = []
    for name, value in settings.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def shell_lines(words: Sequence[str]) -> str:
    """Words that are quoted already, as a command with an option a line."""
    return " ".join(f"\\\n  {word}" if word.startswith("--") else word for word in words)


def stage_by_stage(replica: Replica, server: str) -> tuple[int, ...]:
    """A replica's GPUs on one server: pipeline stages outermost."""
    return tuple(rank.gpu for stage in replica.stages for rank in stage.ranks if stage.ranks[0].server == server)


def eagle_generation(drafts: Drafts) -> str:
    """`eagle3` or `eagle`, which engines tell apart by name: heads are published as EAGLE3-… or EAGLE-…"""
    return "eagle3" if "eagle3" in str(drafts.draft).lower().replace("-", "") else "eagle"


def group_engine(group: ReplicaGroup) -> str:
    """The engine of a group that is not measured."""
    assert group.engine is not None, "measured groups were refused before"
    return group.engine
