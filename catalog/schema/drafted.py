"""A model with what drafts its tokens: no entry of the catalog, but what an engine loads for a plan."""

from __future__ import annotations

from catalog.schema.model import Model


class DraftedModel(Model):
    """A model with a small one beside it on the same ranks."""

    drafter: Model
    """Loaded in 16 bit."""

    @classmethod
    def of(cls, model: Model, drafter: Model) -> DraftedModel:
        """Both as one, each as it was checked before."""
        return cls.model_construct(**{name: getattr(model, name) for name in Model.model_fields}, drafter=drafter)
