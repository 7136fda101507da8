"""A toy task on disk: texts in which one of two letters stands out, and a model that does not know it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmscope.jobs.prompt import PromptRecipe
from lmscope.models.miniature import miniature

TASK = """
name = "letters"
title = "Which letter stands out"
language = "en"
labels = ["a", "b"]

[forms.postfix]
template = "{text}.{prompt}:"
words = ["a", "b"]
instruction = "say it"

[forms.causal]
template = "{prompt}{text}:"
words = ["a", "b"]
instruction = "say it"

[forms.masked]
template = "{text}.{prompt} {mask}"
words = ["a", "b"]
instruction = "say it"

[layouts.own]
format = "json-lines"
"""


@pytest.fixture(scope="session")
def letters(tmp_path_factory) -> Path:
    """A folder with the task, its files, and two models."""
    folder = tmp_path_factory.mktemp("letters")
    (folder / "letters.toml").write_text(TASK, encoding="utf-8")
    drawn = random.Random(0)
    for name, n in (("train", 200), ("test", 40)):
        rows = []
        for _ in range(n):
            label = drawn.choice("ab")
            text = "".join(
                drawn.choice("cdefghij" + label * 4) for _ in range(drawn.randint(4, 12))
            )
            rows.append(json.dumps({"text": f"{name} {text}", "label": label}))
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for family in ("llama", "bert"):
        model = miniature(family)
        model.hf.save_pretrained(folder / family)
        model.tokenizer.save_pretrained(folder / family)
    return folder


@pytest.fixture
def prompt_values(letters) -> Callable[..., dict[str, Any]]:
    """Plain values of a recipe; tables are merged."""

    def values(**changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            "model": {"name": str(letters / "llama"), "dtype": "float32", "device": "cpu"},
            "data": {
                "task": str(letters / "letters.toml"),
                "train": str(letters / "train.jsonl"),
                "test": str(letters / "test.jsonl"),
                "n_each": 4,
            },
            "search": {"popsize": 5},
            "projection": {"d_subspace": 8},
            "n_calls": 40,
            "checkpoint_every": 2,
        }
        for name, change in changes.items():
            merge = isinstance(change, dict) and isinstance(found.get(name), dict)
            found[name] = found[name] | change if merge else change
        return found

    return values


@pytest.fixture
def prompt_recipe(prompt_values) -> Callable[..., PromptRecipe]:
    """A recipe."""
    return lambda **changes: PromptRecipe.from_mapping(prompt_values(**changes))
