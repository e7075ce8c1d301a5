"""Problems in our own words, each at a path, in the form in which pydantic collects and nests them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from optimizer.scenario.words import shown

Path = tuple[str | int, ...]
AT_KEY = "at_key"
"""Error type of what is wrong with a key, not with its value."""
AT_VALUE = "at_value"


def problem(message: str, *path: str | int, at_key: bool = False) -> InitErrorDetails:
    """Something wrong at a path below the value that is being read."""
    error = PydanticCustomError(AT_KEY if at_key else AT_VALUE, "{message}", {"message": message})
    return InitErrorDetails(type=error, loc=path, input=None)


def raise_problems(problems: Sequence[InitErrorDetails]) -> None:
    """Report all of them at once, if there are any."""
    if problems:
        raise ValidationError.from_exception_data("scenario", list(problems))


def problems_in(error: ValidationError, keys: Mapping[str, str]) -> Iterator[InitErrorDetails]:
    """What a validation found, in our words; `keys` says what each key of the mapping means."""
    for found in error.errors(include_url=False):
        if found["type"] == "missing":
            meaning = keys[str(found["loc"][-1])].split(". ")[0].split("; ")[0].rstrip(".")
            message = f"'{found['loc'][-1]}' is missing: {meaning[:1].lower()}{meaning[1:]}"
            yield problem(message, *found["loc"], at_key=True)
            continue
        if found["type"] == "value_error":
            message = str(found["ctx"]["error"])
        elif found["type"] in (AT_KEY, AT_VALUE):
            message = found["ctx"]["message"]
        else:
            message = f"{found['msg'][0].lower()}{found['msg'][1:]}; this is {shown(found['input'])}"
        yield problem(message, *found["loc"], at_key=found["type"] == AT_KEY)
