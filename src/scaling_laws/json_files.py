"""JSON files that a stage has written: read with what is wrong named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from scaling_laws.errors import InputError, cut
from scaling_laws.ledger import reading


class Form(BaseModel):
    """What a JSON object must hold; it may hold more. No number is infinite, none a text."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class TokenFacts(Form):
    """What a token file's JSON counts."""

    documents: int
    tokens: int


def read_object(path: Path, form: type[Form]) -> dict[str, Any]:
    """Return the object of a JSON file, as plain data.

    Args:
        path: The file.
        form: What it must hold.

    Raises:
        InputError: When the file is missing or no JSON, or with the first key that is missing or
            whose value is not what it should be.
    """
    try:
        content = json.loads(reading(path).read_bytes(), parse_constant=_refuse)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {_shown(content)}; expected an object")
    try:
        form.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        if fault["type"] == "missing":
            raise InputError(f"{path}: {key} is missing") from None
        expected = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        where = f"{key} is {_shown(fault['input'])}; expected " if key else ""
        raise InputError(f"{path}: {where}{expected}") from None
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _shown(value: object) -> str:
    return cut(json.dumps(value, default=str))
