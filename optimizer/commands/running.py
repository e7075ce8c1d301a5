"""The exit codes, and the one place where an error becomes a message on stderr and a code."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import click

SOUND, NOT_SOUND, INVALID, INFEASIBLE, NO_PLAN, INTERRUPTED = 0, 1, 3, 4, 5, 130
"""Exit codes; 2, wrong usage, is click's own, and 1 also stands for the unexpected."""


class Gpuplan(click.Group):
    """Turns whatever a command raises into a message on stderr and an exit code; nothing else does."""

    def main(self, *words: Any, **settings: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # UTF-8 whatever the locale, so that it cannot change an answer
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        return super().main(*words, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            super().invoke(ctx)
            sys.stdout.flush()  # a reader that has gone is noticed here, not at interpreter shutdown
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(NOT_SOUND)
        except Exception as error:
            if os.environ.get("GPUPLAN_DEBUG") == "1":
                raise
            ctx.exit(complain(error))


def complain(error: Exception) -> int:
    """Say on stderr what went wrong; the exit code."""
    from optimizer.errors import GpuplanError, InputError
    from optimizer.scenario import render_faults

    if isinstance(error, GpuplanError):
        click.echo(render_faults(error) if isinstance(error, InputError) else f"error: {error}", err=True)
        return INVALID if isinstance(error, InputError) else NOT_SOUND
    click.echo(f"error: unexpected {' '.join(repr(error).split())[:300]}", err=True)
    click.echo("This is a fault of gpuplan. Please report it with the command; GPUPLAN_DEBUG=1 shows where.", err=True)
    return NOT_SOUND
