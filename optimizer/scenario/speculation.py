"""Speculative decoding: tokens drafted ahead cheaply, and checked together in one step of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from optimizer.scenario.fields import Choice, Count, Measured, Repository, Surroundings
from optimizer.scenario.part import Part
from optimizer.scenario.problems import problem
from optimizer.scenario.quantities import RATIO
from optimizer.scenario.words import did_you_mean, shown

DraftMethod = Literal["mtp", "eagle", "ngram", "draft_model"]
DRAFT_METHODS: tuple[DraftMethod, ...] = ("mtp", "eagle", "ngram", "draft_model")
WITH_A_DRAFT: Mapping[str, str] = {"eagle": "repository of the eagle head", "draft_model": "small model that drafts"}
"""Methods that name one -> what it is."""
ENGINES_THAT_DRAFT = ("vllm", "sglang")
MTP_ACCEPTANCE_FRACTION = 0.85
"""The DeepSeek-V3 report (arXiv:2412.19437, 5.4.3) finds 85 to 90 % of second tokens accepted, over topics."""
MOST_DRAFTED = 16


class Speculation(Part):
    """A way to draft tokens that replicas of a workload may use: where it pays, the plan does."""

    method: Annotated[DraftMethod, Choice(DRAFT_METHODS)]
    """`mtp` (the model's own layers for it), `eagle` (a head of one layer), `ngram` (copied from the prompt) or
    `draft_model` (a small model beside it)."""
    tokens: Annotated[int, Count(at_most=MOST_DRAFTED)] = 1
    """Drafted in a step; default 1."""
    acceptance_fraction: Annotated[float, Measured(RATIO, at_least=0, at_most=1)] | None = Field(
        default=None, alias="acceptance"
    )
    """Chance that a drafted token is accepted where those before it were, such as `70%`; of `mtp` by default 85%."""
    draft: Annotated[str, Repository()] | None = None
    """Repository of the head, for `eagle`; for `draft_model` a model of the catalog or of `models`."""

    @classmethod
    def from_scalar(cls, value: object) -> object:
        return {"method": Choice(DRAFT_METHODS).parse(value)}

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        if self.acceptance_fraction is None and self.method != "mtp":
            what = "'acceptance' is missing, such as 70%: it depends on draft and text; engines report what they see"
            yield problem(what, at_key=True)
        if self.method in WITH_A_DRAFT and self.draft is None:
            yield problem(f"'draft' is missing: the {WITH_A_DRAFT[self.method]}", at_key=True)
        if self.method not in WITH_A_DRAFT and self.draft is not None:
            what = f"a draft of its own goes with {' or '.join(WITH_A_DRAFT)}, not with {self.method}"
            yield problem(what, "draft", at_key=True)
        known = {*surroundings.catalog.models, *surroundings.models}
        if self.method == "draft_model" and self.draft is not None and self.draft not in known:
            hint = did_you_mean(surroundings.suggestions.meant(self.draft, "model", known))
            yield problem(f"unknown model {shown(self.draft)}{hint}", "draft", at_key=True)

    @property
    def likely_fraction(self) -> float:
        """Chance of acceptance, as stated or as published."""
        return MTP_ACCEPTANCE_FRACTION if self.acceptance_fraction is None else self.acceptance_fraction

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a step of a sequence gives on average: Σ_i acceptance^i (Leviathan et al., arXiv:2211.17192)."""
        return float(sum(self.likely_fraction**i for i in range(self.tokens + 1)))
