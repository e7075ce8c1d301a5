"""What every exporter shares: the shape of an export, names that Kubernetes accepts, refusals."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from optimizer.errors import Fault, InputError
from optimizer.exporters.engines import Start, start_of
from optimizer.layout import ReplicaGroup
from optimizer.topology import Group, Replica, Topology

LABEL_LENGTH = 63
"""Of an RFC 1035 label, which names of Kubernetes services must be."""


@dataclass(frozen=True, slots=True)
class Export:
    """The files of one target."""

    files: Mapping[str, str]
    """File name -> text; names begin with the target, so that several targets share a folder."""
    left_out: tuple[str, ...] = ()
    """Replica groups that this target has no words for, each with the reason, for stderr."""
    warnings: tuple[str, ...] = ()
    """What the user must do or know before these files work."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """A target: one line for `--list`, how its files are used, and a pure function of the topology."""

    summary: str
    render: Callable[[Topology], Export]
    apply: str
    """A command, or a sentence, for the README beside the files."""


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """A replica group under a name fit for files and Kubernetes objects."""

    name: str
    workload: str
    group: ReplicaGroup
    replicas: tuple[Replica, ...]
    start: Start

    @property
    def n_servers(self) -> int:
        """Servers over which each replica stretches."""
        return len(servers_of(self.replicas[0]))

    @property
    def n_nodes(self) -> int:
        """Parts of a replica that an engine counts as servers of their own: its servers, or each of unlike stages."""
        return len(self.group.stages) if self.group.stages is not None else self.n_servers

    @property
    def node_offers(self) -> tuple[str, ...]:
        """Offer of each of these parts."""
        if self.group.stages is not None:
            return tuple(stage.offer for stage in self.group.stages)
        return (self.group.offer,) * self.n_servers

    @property
    def followers_alike(self) -> bool:
        """Whether all parts but the first stand on one offer."""
        return len(set(self.node_offers[1:])) < 2


def predicted_groups(topology: Topology, target: str) -> tuple[NamedGroup, ...]:
    """The replica groups, named; measured ones raise InputError, for nobody knows which engine they run."""
    measured = dict.fromkeys(one.workload for one in topology.groups if one.group.engine is None)
    if measured:
        raise InputError(
            Fault(
                f"{name}: its replicas were measured, so their engine, model format and degrees are unknown and "
                f"`{target}` cannot start them; export the topology instead, or drop `measured` from the workload"
            )
            for name in measured
        )
    names = dns_labels(_plain_names(topology.groups))
    return tuple(
        NamedGroup(name, one.workload, one.group, one.replicas, start_of(one.group, topology))
        for name, one in zip(names, topology.groups, strict=True)
    )


def servers_of(replica: Replica) -> tuple[str, ...]:
    """Ids of the servers on which a replica stands, in the order of its stages."""
    return tuple(dict.fromkeys(stage.ranks[0].server for stage in replica.stages))


def dns_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Names that begin with a letter and hold letters, digits and dashes (RFC 1035), as near to the given ones as can
    be and all different: one that is too long or repeated ends in a hash."""
    taken: set[str] = set()
    found = []
    for position, name in enumerate(names):
        label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
        label = f"n-{label}" if label[0].isdigit() else label
        if len(label) > LABEL_LENGTH or label in taken:
            digest = hashlib.sha256(f"{position} {name}".encode()).hexdigest()[:8]
            label = f"{label[: LABEL_LENGTH - 9].rstrip('-')}-{digest}"
        taken.add(label)
        found.append(label)
    return tuple(found)


def chosen(
    topology: Topology, target: str, cannot: Callable[[NamedGroup], str], *, joins_offers: Collection[str] = ()
) -> tuple[tuple[NamedGroup, ...], tuple[str, ...]]:
    """The groups that the target can start, and for each other one its workload and the reason.

    `joins_offers` are the engines of which it has words for replicas whose stages differ.
    """
    groups = predicted_groups(topology, target)

    def reason(named: NamedGroup) -> str:
        if named.group.stages is not None and named.start.engine not in joins_offers:
            return unlike_stages(named)
        return cannot(named) or named.start.dialect.cannot(named.start.planned)

    reasons = {named.name: reason(named) for named in groups}
    left_out = tuple(f"{named.workload}: {reasons[named.name]}" for named in groups if reasons[named.name])
    return tuple(named for named in groups if not reasons[named.name]), left_out


def unlike_stages(named: NamedGroup) -> str:
    """Why a target cannot start this pipeline over several offers, and which ones can."""
    offers = " and ".join(dict.fromkeys(named.node_offers))
    targets = named.start.engine
    if named.start.dialect.node_words is not None:
        targets += ", compose or lws" if named.followers_alike else " or compose"
    return f"its pipeline stages differ and stand on {offers}; export to {targets}"


def nothing_to_export(target: str) -> str:
    """How the reason begins where a target has no words for any of a plan."""
    return f"nothing to export to {target}: "


def finished(
    files: Mapping[str, str], left_out: Iterable[str], target: str, started: Iterable[NamedGroup] = ()
) -> Export:
    """The export, with a warning for each started group that lacks a checkpoint; without any file InputError."""
    reasons = tuple(left_out)
    if not files:
        raise InputError(Fault(f"{nothing_to_export(target)}{reason}") for reason in reasons or ("no replicas",))
    return Export(files, reasons, tuple(warning for named in started for warning in _warnings(named)))


def cannot_join_servers(named: NamedGroup, by_script: bool = False) -> str:
    """Why the engine cannot stretch this group's replicas over servers; empty when it can or need not.

    A script on one server can start what runs on others; a container cannot.
    """
    group, dialect, n_servers = named.group, named.start.dialect, named.n_servers
    if n_servers == 1 or (by_script and dialect.lend_words is not None):
        return ""
    if named.group.stages is not None:
        return ""  # a start for each stage, which is told its layers
    if dialect.node_words is None and not (by_script and dialect.start_over_servers):
        return f"a replica stretches over {n_servers} servers, and {dialect.name} alone does not join them"
    if (group.dp or 1) > 1:
        return f"dp {group.dp} over {n_servers} servers needs a start of its own for each rank"
    if (group.pp or 1) % n_servers:
        return f"{dialect.name} wants equal shares, and pp {group.pp} is not even on {n_servers} servers"
    return ""


def cannot_run_in_a_container(named: NamedGroup) -> str:
    """Why there is no image for this group; empty when there is one."""
    if named.start.image is None:
        return f"there is no {named.start.dialect.name} image for {named.start.planned.gpu.vendor} cards"
    return ""


def _warnings(named: NamedGroup) -> Iterable[str]:
    start, model = named.start, named.start.planned.model
    if len({stage.weight_dtype for stage in named.group.stages or ()}) > 1:
        yield f"{named.workload}: make {start.weights.needs} (llm-compressor does), and name it where files say so"
    elif start.weights.checkpoint is None:
        checkpoints = f"{{checkpoints: {{{start.planned.weight_dtype}: OWNER/NAME}}}}"
        yield (
            f"{named.workload}: no published {start.weights.needs.removeprefix('a ')} is known; name one under "
            f"`models: {{{model.id}: {checkpoints}}}` in the scenario, or where files say so"
        )
    if start.dialect.lend_words is not None and named.n_servers > 1:
        yield (
            f"{named.workload}: {start.dialect.name} must be built with -DGGML_RPC=ON on every server; its rpc-server, "
            "ggml-rpc-server in later releases, obeys whoever reaches it: keep its ports inside your own network"
        )
    if start.engine == "llamacpp" and start.planned.pp > 1 and model.mtp_layers:
        yield (
            f"{named.workload}: --tensor-split counts the {model.n_layers} layers of the model; a GGUF file that also "
            f"holds its {model.mtp_layers} for multi-token prediction splits them otherwise, so take one without"
        )
    memory = named.group.memory
    held = int(start.planned.memory.kv_cache_tokens[0]) if memory is None else memory.kv_cache_tokens
    if start.engine == "llamacpp" and held < (needed := start.planned.max_batch_size * start.planned.max_model_len):
        yield (
            f"{named.workload}: llama.cpp takes the cache of all slots at start, {needed:,} tokens, and the cards hold "
            f"{held:,}; lower max_context or max_batch_size"
        )


def header(topology: Topology, *lines: str) -> str:
    """Comment lines at the top of a file: where it comes from, and what to know before it is used."""
    document = topology.document
    origin = f"gpuplan: scenario {document.scenario}, plan {document.plan_sha256}"
    return "".join(f"# {one_line(line)}\n" for line in (origin, *lines))


def one_line(text: str) -> str:
    """Text without line breaks and control characters, so that it cannot leave a comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _plain_names(groups: Sequence[Group]) -> list[str]:
    """The workload's name, with a number where it has several groups."""
    total = Counter(one.workload for one in groups)
    number = {name: count() for name in total}
    return [
        f"{one.workload}-{next(number[one.workload])}" if total[one.workload] > 1 else one.workload for one in groups
    ]
