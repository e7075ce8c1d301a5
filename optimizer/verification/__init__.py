"""Every promise of a plan, derived again from scenario and catalog by code that did not make the plan."""

from optimizer.verification.plan import verify

__all__ = ["verify"]
