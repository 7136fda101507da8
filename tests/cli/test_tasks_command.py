"""`lmscope tasks` as a person sees it."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lmscope.cli.main import main
from lmscope.models.miniature import miniature
from lmscope.text.tasks.words import NAMES, PLAIN


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved miniature with words, first names and round and square brackets, and no digits of two."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=5000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=["<bos>", "<pad>"],
    )
    tokenizer.train_from_iterator([f" {' '.join((*NAMES, *PLAIN))} ( [" * 3], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", pad_token="<pad>")
    path = tmp_path_factory.mktemp("tasks") / "model"
    miniature("llama", vocab_size=len(fast)).hf.save_pretrained(path)
    fast.save_pretrained(path)
    return str(path)


def test_list_names_every_task(capsys):
    assert main(["tasks", "list"]) == 0
    shown = capsys.readouterr().out
    for name in ("ioi", "induction", "brackets", "greater_than", "agreement"):
        assert name in shown


def test_show_says_what_is_right_and_what_is_wrong(folder, capsys):
    assert main(["tasks", "show", "ioi", "--model", folder, "--n", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("compared with") == 2
    assert shown.count('" - "') == 2


def test_what_is_written_is_read_by_trace(folder, capsys, tmp_path):
    assert main(["tasks", "write", "ioi", "--model", folder, "--n", "3"]) == 0
    written = capsys.readouterr().out
    rows = [json.loads(line) for line in written.splitlines()]
    assert [row["name"] for row in rows] == ["ioi 000", "ioi 001", "ioi 002"]
    path = tmp_path / "ioi.jsonl"
    path.write_text(written)
    words = ["trace", "--prompts", str(path), "--model", folder, "--dictionaries", "none"]
    assert main([*words, "--json", "--unverified", "--runs-dir", str(tmp_path / "runs")]) == 0
    traces = json.loads(capsys.readouterr().out)["traces"]
    assert [one["prompt"] for one in traces] == [row["prompt"] for row in rows]
    for one, row in zip(traces, rows, strict=True):
        answer, _, wrong = row["target"].partition(" - ")
        assert one["target"].startswith(f"logit {answer} - logit {wrong}")


def test_scores_are_shown_and_tasks_that_cannot_be_are_named(folder, capsys):
    words = ["tasks", "score", "induction", "agreement", "--model", folder, "--n", "4"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "induction" in shown
    assert "agreement: The task needs one pair of verbs" in shown
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["scores"]) == {"induction"}
    assert found["scores"]["induction"]["n"] == 4
    assert set(found["left_out"]) == {"agreement"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "ioy"], 2, "No task is called 'ioy'. Did you mean ioi?"),
        (["score", "bracket"], 2, "No task is called 'bracket'. Did you mean brackets?"),
        (["show", "agreement"], 1, "The task needs one pair of verbs"),
        (["score", "agreement"], 1, "The task needs one pair of verbs"),
        (["bracket-features", "--dictionaries", "none"], 2, "no latent to score"),
    ],
)
def test_each_wrong_input_is_one_sentence(folder, capsys, words, code, said):
    assert main(["tasks", *words, "--model", folder]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
