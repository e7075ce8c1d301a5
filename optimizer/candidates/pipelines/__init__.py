"""Pipelines over several offers: replicas whose stages differ in card, layers and weight format."""

from optimizer.candidates.pipelines.build import pipeline_candidates, unbeaten

__all__ = ["pipeline_candidates", "unbeaten"]
