"""Every lawful way to run one replica of each workload, with its figures, as arrays."""

from optimizer.candidates.asked import token_mix
from optimizer.candidates.build import InUse, build_alike, build_candidates
from optimizer.candidates.figures import ReplicaFigures, replica_figures, replica_rates_rps
from optimizer.candidates.preference import Preference, Reluctance
from optimizer.candidates.prune import alone_rps, narrowed
from optimizer.candidates.ratings import Ratings
from optimizer.candidates.spec import Candidates, ReplicaSpec, linked_spec, on_offer, planned_spec
from optimizer.candidates.spread import build_candidates_on

__all__ = [
    "Candidates",
    "InUse",
    "Preference",
    "Ratings",
    "Reluctance",
    "ReplicaFigures",
    "ReplicaSpec",
    "alone_rps",
    "build_alike",
    "build_candidates",
    "build_candidates_on",
    "linked_spec",
    "narrowed",
    "on_offer",
    "planned_spec",
    "replica_figures",
    "replica_rates_rps",
    "token_mix",
]
