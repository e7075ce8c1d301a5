"""A start-up log as facts: which engine, which settings it states, which sizes it printed; of any rank's lines."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from catalog.errors import InputError
from optimizer.startup_log.patterns import LEAST, WORDS, Words

MOST_CHARACTERS = 20_000_000
"""Of a log that is looked at: start-up comes first."""
_MOST_LINE_CHARACTERS = 20_000
_MOST_LINES = 100_000
_HINT = re.compile(
    r"G(?:i?B|PU)|MiB|[Vv]ersion|args|Args|config|tokens|_size|model|dtype|memory|Device 0|n_ctx|n_ubatch|n_seq_max"
    r"|file type|general\.name|max_seq_len|quant_algo|loaded meta data|ftype|n_ctx_|offloaded"
)
"""Words of which every line that a pattern knows has one; most lines of a long log have none."""
_ON_HOST = re.compile(r"load_tensors: +CPU\S{0,20} (?:model )?buffer size")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_RANK = re.compile(r"\((?:Worker|EngineCore|APIServer|VllmWorker)[^()]{0,40}?"
                   r"((?:_?(?:DP|PP|TP|EP)\d+)+|rank=\d+)?[^()]{0,40}\)"
                   r"|\[[^\[\]]{0,40}?((?: ?(?:DP|PP|TP|RANK )\d+)+)[^\[\]]{0,20}\]")  # fmt: skip


@dataclass(frozen=True, slots=True)
class StartupLog:
    """What a log says."""

    engine: str
    """Id of the engine."""
    stated: Mapping[str, str]
    """Setting -> its text; what the log does not state is absent."""
    sizes: Mapping[str, float]
    """Figure -> its value, of the rank that limits."""
    ranks: int
    """Ranks that printed a size."""
    faults: tuple[str, ...]
    """Lines that say why the engine did not start, as they stand."""


def read_log(text: str) -> StartupLog:
    """The log in a text: the engine whose lines it has most of. InputError when it has none of any engine's.

    Colours, control characters, time stamps and the lines of several ranks in any order do no harm; of a line that a
    rank prints again the last counts.
    """
    lines = list(islice(_lines(text[:MOST_CHARACTERS]), _MOST_LINES))
    found = {engine: _sizes_by_rank(words, lines) for engine, words in WORDS.items()}
    engine = max(found, key=lambda one: sum(map(len, found[one].values())))
    if not found[engine] and any(_ON_HOST.search(line) for line in lines):
        raise InputError(
            "llama.cpp put the whole model into host memory, and only what lies on a card is predicted; paste a log "
            "of a start with layers on a card (-ngl)"
        )
    if not found[engine]:
        raise InputError(
            "no start-up line of vLLM, SGLang, TensorRT-LLM or llama.cpp in this log; expected lines such as 'Model "
            "loading took 14.99 GiB' and 'GPU KV cache size: 476,016 tokens': paste the log from the server's start on"
        )
    ranks = {rank for by_rank in found[engine].values() for rank in by_rank if rank}
    return StartupLog(
        engine=engine,
        stated=_stated(WORDS[engine], lines),
        sizes=_joined(WORDS[engine], found[engine]),
        ranks=max(len(ranks), 1),
        faults=tuple(dict.fromkeys(line.strip()[:300] for line in lines if _is_fault(line)))[:3],
    )


def _lines(text: str) -> Iterator[str]:
    """The lines that may say something, without colours and control characters."""
    for match in re.finditer(r"[^\r\n]+", text):
        line = match[0][:_MOST_LINE_CHARACTERS]
        if _HINT.search(line):
            yield _CONTROLS.sub("", _ESCAPES.sub("", line))


def _sizes_by_rank(words: Words, lines: list[str]) -> dict[str, dict[str, list[float]]]:
    """Figure -> rank -> values in the order printed."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, patterns in words.sizes.items():
        for pattern in patterns:
            values: dict[str, list[float]] = defaultdict(list)
            for line in lines:
                if (match := pattern.search(line)) and (value := _number(match[1])) is not None:
                    values[_rank(line)].append(value / words.unit)
            if values:
                found[name] = dict(values)
                break
    return found


def _joined(words: Words, found: Mapping[str, Mapping[str, list[float]]]) -> dict[str, float]:
    sizes = {}
    for name, by_rank in found.items():
        of_ranks = [_of_rank(words, values) for values in by_rank.values()]
        sizes[name] = min(of_ranks) if name in LEAST else max(of_ranks)
    if "kv_cache_gib" not in sizes and {"k_size_gib", "v_size_gib"} <= sizes.keys():
        sizes["kv_cache_gib"] = sizes["k_size_gib"] + sizes["v_size_gib"]
    return sizes


def _of_rank(words: Words, values: list[float]) -> float:
    """Of the values that one rank printed."""
    if words.adds_up:
        return sum(values)
    return max(values) if words.largest else values[-1]


def _stated(words: Words, lines: list[str]) -> dict[str, str]:
    stated: dict[str, str] = {}
    for name, patterns in words.flags.items():
        matches = (match for pattern in patterns for line in lines if (match := pattern.search(line)))
        said = next((match[1] for match in matches if match[1] not in ("None", "null")), None)
        if said is not None:
            stated[name] = said
    return stated


def _rank(line: str) -> str:
    match = _RANK.search(line[:200])
    return (match[1] or match[2] or "") if match else ""


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _is_fault(line: str) -> bool:
    return bool(
        re.search(
            r"out of memory|No available memory|KV cache is needed|exceeds available Mamba|Not enough memory", line
        )
    )
