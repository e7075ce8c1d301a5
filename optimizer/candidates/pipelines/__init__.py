"""Pipelines over several offers: replicas whose stages differ in card, layers and weight format."""

from optimizer.candidates.pipelines.build import pipeline_candidates, unbeaten
from optimizer.candidates.pipelines.rows import stage_rows

__all__ = ["pipeline_candidates", "stage_rows", "unbeaten"]
