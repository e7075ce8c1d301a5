"""What an answer about one replica rests on that nobody asked for."""

from __future__ import annotations

from catalog.schema import Engine


def assumed_format(weight_dtype: str) -> str:
    """Of weights whose format was not said."""
    return f"weights in {weight_dtype}" + (", as the card does not compute in bf16" if weight_dtype == "fp16" else "")


def assumed_rules(engine: Engine, version: str | None) -> tuple[str, ...]:
    """Of a version that is older than every one that is described."""
    if not engine.predates(version):
        return ()
    oldest = engine.versions[0].since
    return (f"{engine.name} {version} does as {oldest}, the oldest that is described: every part is an estimate",)
