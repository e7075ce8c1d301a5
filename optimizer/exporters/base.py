"""What every exporter shares: the shape of an export, names that Kubernetes accepts, refusals."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from optimizer.errors import Fault, InputError
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


@dataclass(frozen=True, slots=True)
class Exporter:
    """A target: one line for `--list`, and a pure function of the topology."""

    summary: str
    render: Callable[[Topology], Export]


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """A replica group under a name fit for files and Kubernetes objects."""

    name: str
    workload: str
    group: ReplicaGroup
    replicas: tuple[Replica, ...]

    @property
    def n_servers(self) -> int:
        """Servers over which each replica stretches."""
        return len(servers_of(self.replicas[0]))


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
        NamedGroup(name, one.workload, one.group, one.replicas)
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


def finished(files: Mapping[str, str], left_out: Iterable[str], target: str) -> Export:
    """The export; one without any file raises InputError with the reasons."""
    reasons = tuple(left_out)
    if not files:
        raise InputError(Fault(f"nothing to export to {target}: {reason}") for reason in reasons or ("no replicas",))
    return Export(files, reasons)


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
