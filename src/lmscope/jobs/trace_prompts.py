"""PromptChoice: the prompts of a trace, given one by one or in a file."""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from lmscope.circuits.target_text import parse_target
from lmscope.core.config import Config
from lmscope.core.errors import DataError, ModelError, RecipeError
from lmscope.models.language_model import LanguageModel

_SLUG_LENGTH: Final = 32
_KEYS: Final = ("prompt", "target", "counterfactual", "name")


class PromptChoice(Config):
    """What is traced on."""

    texts: tuple[str, ...] = ()
    """Prompts; the model's BOS is put before each."""
    file: str | None = None
    """More of them: a .txt file with one a line, or a .jsonl file of rows with `prompt`, and if they like
    with a `target`, a `counterfactual` and a `name` of their own."""
    target: str | None = None
    """What is traced, as in `circuits.target_text`; absent: the model's own top prediction."""
    counterfactual: str | None = None
    """A prompt of as many tokens, whose features stand in for those outside a circuit when it is tried."""


class Prompt(Config):
    """One prompt with its target."""

    name: str
    """Of its files."""
    text: str
    target: str | None = None
    counterfactual: str | None = None


def read_prompts(choice: PromptChoice) -> tuple[Prompt, ...]:
    """All prompts, their targets checked as far as no model is needed.

    Raises:
        RecipeError: There is none, one is empty, or a target is none.
        DataError: The file cannot be read.
    """
    found = [{"prompt": text} for text in choice.texts]
    found += [] if choice.file is None else _of_file(Path(choice.file))
    if not found:
        raise RecipeError(
            'There is nothing to trace on: give a prompt, e.g. lmscope trace "The capital of France is".'
        )
    prompts = []
    for number, row in enumerate(found):
        text, target = row["prompt"], row.get("target", choice.target)
        if not text:
            raise RecipeError(f"Prompt {number + 1} is empty: give it a text.")
        parse_target(target)
        other = row.get("counterfactual", choice.counterfactual)
        if other == "":
            raise RecipeError(
                f"The counterfactual of prompt {number + 1} is empty: give it a text."
            )
        name = _name(number, row)
        prompts.append(Prompt(name=name, text=text, target=target, counterfactual=other))
    return tuple(prompts)


def tokens_of(model: LanguageModel, prompt: Prompt) -> list[int]:
    """The prompt's tokens with the model's BOS.

    Raises:
        ModelError: There are more than the model has positions for.
        DataError: There is none.
    """
    batch = model.batch(prompt.text)
    assert batch.tokens is not None
    tokens: list[int] = batch.tokens[0].tolist()
    if model.max_positions is not None and len(tokens) > model.max_positions:
        raise ModelError(
            f"The prompt '{_beginning(prompt.text)}' has {len(tokens)} tokens, {model.name} has {model.max_positions} "
            "positions: shorten it."
        )
    return tokens


def counterfactual_tokens(model: LanguageModel, prompt: Prompt) -> list[int] | None:
    """The tokens of the prompt's counterfactual; None where it has none.

    Raises:
        ModelError: There are more than the model has positions for.
        DataError: They are not as many as the prompt's.
    """
    if prompt.counterfactual is None:
        return None
    n_own = len(tokens_of(model, prompt))
    other = tokens_of(model, prompt.model_copy(update={"text": prompt.counterfactual}))
    if len(other) != n_own:
        raise DataError(
            f"Prompt '{prompt.name}' has {n_own} tokens and its counterfactual {len(other)}: positions must answer "
            "to each other, so give one of equal length."
        )
    return other


def _of_file(path: Path) -> list[dict[str, Any]]:
    if path.suffix not in (".txt", ".jsonl"):
        raise DataError(
            f"'{path}' is no file of prompts: name one that ends in .txt (a prompt a line) or .jsonl (a row a line)."
        )
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(f"There is no file of prompts at '{path}'.") from None
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"'{path}' is no text in UTF-8: save it as such.") from None
    if path.suffix != ".jsonl":
        return [{"prompt": line} for line in lines]
    return [_row(path, number, line) for number, line in enumerate(lines, 1)]


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise DataError(
            f"Row {number} of '{path}' is no prompt: write objects such as "
            '{"prompt": "Tom and Ann went; Tom saw", "target": "\\" Ann\\" - \\" Tom\\""}.'
        )
    for key in ("target", "counterfactual", "name"):
        if key in row and not isinstance(row[key], str):
            raise DataError(f"'{key}' in row {number} of '{path}' is no text.")
    for key in sorted(row.keys() - set(_KEYS)):
        if near := get_close_matches(key.casefold(), _KEYS, n=1, cutoff=0.8):
            raise DataError(
                f"Row {number} of '{path}' has a key '{key}', which nothing reads: write '{near[0]}'."
            )
    return {key: row[key] for key in _KEYS if key in row}


def _name(number: int, row: dict[str, Any]) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", row.get("name", row["prompt"]).lower())
    return f"{number:04d}-{words[:_SLUG_LENGTH].strip('-')}".rstrip("-")


def _beginning(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
