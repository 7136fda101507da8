"""JSON in the words of a language model: found, mended where that is safe, and checked."""

import json
import re
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

A = TypeVar("A", bound="Answer")

_TRAILING_COMMA: Final = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
_MOST_BEGINNINGS: Final = 100
"""Opening braces that are tried, so that an answer of braces costs no time."""


class Answer(BaseModel):
    """The form of an answer; every field is asked for, further ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


def schema_of(form: type[Answer]) -> dict[str, Any]:
    """The JSON schema of a form, as strict servers want it: no further fields, none left out."""
    return _strict(form.model_json_schema())


def read_answer(text: str, form: type[A]) -> A:
    """The answer that a text holds.

    JSON may stand alone, in a fenced block, or between other words; of several objects the last one
    of the form counts. A comma too many before a closing bracket is taken out, and so is what a model
    thinks aloud before `</think>`.

    Args:
        text: What the model wrote.
        form: Class of the answer.

    Raises:
        ValueError: No part of it is a JSON object of this form; the text says what is wrong.
    """
    problem = "It holds no JSON object."
    if not text.lstrip().startswith("{"):
        text = text.rpartition("</think>")[2]
    mended = _TRAILING_COMMA.sub(_keep_strings, text)
    for values in (*reversed(_objects(text)), *reversed(_objects(mended))):
        try:
            return form.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the object"
            problem = f"'{where}': {first['msg']}."
    raise ValueError(problem)


def _objects(text: str) -> list[dict[str, Any]]:
    """JSON objects that stand in the text, without those within others."""
    found, place, decoder = [], text.find("{"), json.JSONDecoder()
    for _ in range(_MOST_BEGINNINGS):
        if place < 0:
            break
        try:
            values, end = decoder.raw_decode(text, place)
        except ValueError:
            end = place + 1
        except RecursionError:
            break
        else:
            found.append(values)
        place = text.find("{", end)
    return found


def _keep_strings(match: re.Match[str]) -> str:
    return match[1] or ""


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A title says nothing to the model, and a server may refuse keywords that it does not know.
    strict = {key: _strict(value) for key, value in schema.items() if not _is_title(key, value)}
    if strict.get("type") == "object":
        strict |= {"additionalProperties": False, "required": list(strict.get("properties", {}))}
    return strict


def _is_title(key: str, value: Any) -> bool:
    return key == "title" and isinstance(value, str)
