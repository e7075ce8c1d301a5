"""How messages show what a user wrote and what was probably meant."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

_SHOWN_CHARACTERS = 60
_HUGE_INTEGER_BITS = 200
_NEAR_ENOUGH = 0.6
"""difflib's similarity from which a name is offered as probably meant."""
_MOST_OFFERED = 3
_MOST_SUGGESTIONS = 100
_TELLING_PART = 3
"""Characters from which a part of a name stands for it: `h100` for `h100-sxm`."""
_AS_NEAR = 0.05
"""Names that are nearly as similar as the best are offered too."""


def printable(text: str) -> str:
    """The text with everything that a terminal might obey (controls, bidirectional marks) as escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def shown(value: object) -> str:
    """A value as messages quote it: in quotes, escaped, and shortened when long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    if isinstance(value, int) and value.bit_length() > _HUGE_INTEGER_BITS:
        return "a huge number"
    text = str(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[: _SHOWN_CHARACTERS - 1]}…"
    text = printable(text)
    return text if isinstance(value, int | float) else f"'{text}'"


def key_text(key: object) -> str:
    """A key as part of a path; a mapping that no file holds may have keys of any type."""
    return key if isinstance(key, str) else shown(key)


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail


def meant(word: str, known: Iterable[str]) -> list[str]:
    """The known words that a misspelt or shortened one probably stands for, best first, at most three."""
    by_lower = {name.lower(): name for name in known}
    if len(word) > _SHOWN_CHARACTERS * 2:
        return []
    if len(word) >= _TELLING_PART and (holding := [name for lower, name in by_lower.items() if word.lower() in lower]):
        return sorted(holding, key=lambda name: (len(name), name))[:_MOST_OFFERED]
    near = difflib.get_close_matches(word.lower(), by_lower, n=_MOST_OFFERED, cutoff=_NEAR_ENOUGH)
    likeness = [difflib.SequenceMatcher(None, name, word.lower()).ratio() for name in near]
    return [by_lower[name] for name, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - _AS_NEAR]


def did_you_mean(near: Iterable[str]) -> str:
    """`; did you mean 'vllm'?` of the words that were probably meant; nothing when there are none."""
    quoted = [f"'{name}'" for name in near]
    return f"; did you mean {listed(quoted)}?" if quoted else ""


class Suggestions:
    """What was probably meant, looked up once a word and for a limited number of words: nobody reads the hundredth."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[str]] = {}

    def meant(self, word: str, kind: str, known: Iterable[str]) -> list[str]:
        """The known words of a kind that a misspelt one probably stands for, as long as looking is worth its time."""
        if (kind, word) not in self._found:
            if len(self._found) >= _MOST_SUGGESTIONS:
                return []
            self._found[kind, word] = meant(word, known)
        return self._found[kind, word]


def foreign_letter(word: str) -> str:
    """A note on the first letter outside ASCII, because look-alikes are invisible."""
    for character in word:
        if not character.isascii():
            name = unicodedata.name(character, "a control character")
            return f" (its {printable(character)!r} is U+{ord(character):04X}, {name})"
    return ""


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
