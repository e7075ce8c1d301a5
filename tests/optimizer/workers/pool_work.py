"""Work that does what its task says, for pools under test; a module, so that workers can import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from optimizer.errors import InputError


def obedient() -> Callable[[str], str]:
    return obey


def obey(task: str) -> str:
    """`die`, `hang`, `pid`, `die-once:FILE`, or anything else, which is answered in capitals."""
    what, _, file = task.partition(":")
    if what == "die" or (what == "die-once" and not Path(file).exists()):
        if file:
            Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(60)
    return str(os.getpid()) if what == "pid" else task.upper()


def unable(_ballast: bytes = b"") -> Callable[[str], str]:
    os._exit(7)


def refusing() -> Callable[[str], str]:
    return refuse


def refuse(task: str) -> str:
    raise InputError(f"no {task}")
