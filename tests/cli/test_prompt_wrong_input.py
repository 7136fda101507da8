"""What a person gets wrong with `lmscope prompt` is one sentence, which stands in docs/explanation/errors.md."""

import json
import random
import re
import shlex
from pathlib import Path

import pytest

import lmscope
from lmscope.cli.main import main
from lmscope.models.miniature import miniature

PAGE = Path(lmscope.__file__).parents[2] / "docs" / "explanation" / "errors.md"
TASK = """
name = "{name}"
title = "Which letter stands out"
language = "en"
labels = ["a", "b"]

[forms.postfix]
template = "{postfix}"
words = {words}
instruction = "say it"

[forms.causal]
template = "{{prompt}}{{text}}:"
words = ["a", "b"]
instruction = "say it"

[forms.masked]
template = "{{text}}.{{prompt}} {{mask}}"
words = ["a", "b"]
instruction = "say it"

[layouts.own]
format = "json-lines"
"""
LETTERS = "prompt --model llama --task letters.toml --train train.jsonl"
OTHER = "prompt --model llama --task letters.toml --dry-run --train"
WRONG = (
    "prompt --model llama --task sst3 --train train.jsonl --dry-run",
    "prompt --train train.jsonl --dry-run",
    f"{LETTERS} --form cloze --dry-run",
    f"{LETTERS} --form masked --dry-run",
    "prompt --model llama --task twotokens.toml --train train.jsonl --dry-run",
    "prompt --model llama --task noprompt.toml --train train.jsonl --dry-run",
    f"{OTHER} other.jsonl",
    f"{OTHER} onlya.jsonl",
    f"{LETTERS} --shots 120 --dry-run",
    f"{LETTERS} --shots 0 --dry-run",
    f"{OTHER} absent.jsonl",
    f"{LETTERS} --test train.jsonl --dry-run",
    f"{LETTERS} --set place.max_length=5 --dry-run",
    f"{LETTERS} --set place.n_tokens=50 --dry-run",
    f"{LETTERS} --calls 4",
    f"{LETTERS} --method joint --group 5 --dry-run",
    f"{LETTERS} --set method.paper_faithful=true --set method.keep=mean --dry-run",
    f"{LETTERS} --set search.popsize=2 --dry-run",
    "prompt --model headless --task letters.toml --train train.jsonl --dry-run",
    "prompt apply nothing",
    "prompt apply nothing 'a' --field text_b",
    "prompt compare run",
)


def sentences():
    """Patterns of the sentences on the page, for each exit code."""
    section = PAGE.read_text(encoding="utf-8").split("## Prompts")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in section.splitlines()]
    told = [(row[1], row[2]) for row in rows if len(row) == 3 and row[1].isdigit()]
    return [(int(code), text) for code, text in told]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A task, its examples and models, right ones and wrong ones."""
    root = tmp_path_factory.mktemp("prompts")
    made = {
        "letters": ("{text}.{prompt}:", '["a", "b"]'),
        "twotokens": ("{text}.{prompt}:", '["ab", "b"]'),
        "noprompt": ("{text}.:", '["a", "b"]'),
    }
    for name, (postfix, words) in made.items():
        text = TASK.format(name=name, postfix=postfix, words=words)
        (root / f"{name}.toml").write_text(text, encoding="utf-8")
    drawn = random.Random(0)
    labels = [drawn.choice("ab") for _ in range(200)]
    rows = [{"text": f"{i}{label * 3}", "label": label} for i, label in enumerate(labels)]
    files = {
        "train": rows,
        "other": [*rows[:3], {"text": "x", "label": "c"}],
        "onlya": [row for row in rows if row["label"] == "a"],
    }
    for name, lines in files.items():
        text = "".join(json.dumps(row) + "\n" for row in lines)
        (root / f"{name}.jsonl").write_text(text, encoding="utf-8")
    model = miniature("llama")
    for name, hf in (("llama", model.hf), ("headless", model.hf.base_model)):
        hf.save_pretrained(root / name)
        model.tokenizer.save_pretrained(root / name)
    (root / "run").mkdir()
    (root / "run" / "run.json").write_text("{}")
    return root


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_one_sentence_of_the_page(words, folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    code = main(shlex.split(words))
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in said
    pages = [text for exit_code, text in sentences() if exit_code == code]
    numbers = re.compile(r"\d+")
    assert numbers.sub("N", said) in [numbers.sub("N", text) for text in pages], said


def test_every_sentence_of_the_page_is_tried() -> None:
    assert len(sentences()) == len(WRONG)
