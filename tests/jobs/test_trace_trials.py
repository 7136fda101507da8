"""Trials of circuits by zero, mean and counterfactual ablation."""

import json

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.faithfulness import FaithfulnessOptions, measure
from lmscope.circuits.feature_sets import kept_by
from lmscope.circuits.frozen import freeze
from lmscope.circuits.means import mean_baseline, prompt_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.target_text import parse_target, resolve_target
from lmscope.core.errors import LmscopeError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.trace import TraceRecipe, trace
from lmscope.jobs.trace_dictionaries import find_parts
from lmscope.jobs.trace_record import read_report
from lmscope.jobs.trace_trials import mean_values
from lmscope.models.language_model import LanguageModel


class Deaf:
    """Hears of nothing."""

    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        pass

    def on_progress(self, phase, done, total, fields):
        pass


@pytest.fixture(scope="module")
def asked(trained):
    def asked(prompts, **ablation):
        values = {
            "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 0},
            "prompts": {"target": '"e"', **prompts},
            "ablation": ablation,
        }
        return TraceRecipe.from_mapping(values)

    return asked


@pytest.fixture(scope="module")
def replacement(trained):
    model = LanguageModel.load(str(trained.recipe_values["model"]["name"]), device="cpu")
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    return Replacement(model, [Dictionary.load(folder)])


def tokens(replacement, text):
    return replacement.model.batch(text).tokens[0].tolist()


def by_hand(replacement, text, baseline, where):
    """Faithfulness of the same circuit, without the job."""
    frozen = freeze(replacement, tokens(replacement, text))
    target = resolve_target(parse_target('"e"'), replacement.model, {})
    found = attribute(frozen, target, TraceRecipe().trace)
    circuit, options = kept_by(found), FaithfulnessOptions(where=where)
    return measure(frozen, target.read_by(frozen), [circuit], baseline, options)


def test_a_counterfactual_is_tried_where_a_prompt_brings_one(asked, replacement, tmp_path):
    recipe = asked({"texts": ["the soldier"], "counterfactual": "the serpent"})
    (row,) = read_report(trace(recipe, root=tmp_path)).traces
    assert [one.ablation for one in row.faithfulness] == ["zero"] * 4 + ["counterfactual"] * 4
    baseline = prompt_baseline(replacement, tokens(replacement, "the serpent"))
    for one in row.faithfulness:
        if one.ablation == "counterfactual" and one.errors == "kept":
            expected = by_hand(replacement, "the soldier", baseline, one.where)
            assert one.empty == pytest.approx(expected.empty, rel=1e-5)
            assert one.kept == pytest.approx(expected.kept[0], rel=1e-5)


def test_means_are_over_text_or_prompts_or_positions(asked, replacement, tmp_path):
    texts = ["the soldier", "the serpent"]
    found = {}
    for means in ("text", "prompts", "positions"):
        recipe = asked({"texts": texts}, by=["mean"], means=means, tokens=256)
        row = read_report(trace(recipe, root=tmp_path)).traces[0]
        assert {one.ablation for one in row.faithfulness} == {"mean"}
        found[means] = row.faithfulness[0]
    ids = [tokens(replacement, text) for text in texts]
    for means in ("prompts", "positions"):
        baseline = mean_baseline(replacement, ids, by_position=means == "positions")
        expected = by_hand(replacement, texts[0], baseline, "linear")
        assert found[means].empty == pytest.approx(expected.empty, rel=1e-5)
    assert len({one.empty for one in found.values()}) == 3


def test_means_over_text_are_those_of_its_first_contexts(asked, replacement, trained, tmp_path):
    recipe = asked({"texts": ["the soldier"]}, by=["mean"], tokens=64)
    row = read_report(trace(recipe, root=tmp_path)).traces[0].faithfulness[0]
    task = find_parts(recipe.dictionaries, recipe.model).task
    baseline = mean_values(recipe.ablation, replacement, (), task, Deaf())
    (n,) = (int(one.sum()) for one in baseline.n.values())
    assert 32 <= n <= 64
    expected = by_hand(replacement, "the soldier", baseline, "linear")
    assert row.empty == pytest.approx(expected.empty, rel=1e-5)
    (values,) = baseline.values.values()
    assert float(values.abs().sum()) > 0
    assert torch.isfinite(values).all()


@pytest.mark.parametrize(
    ("prompts", "ablation", "words"),
    [
        ({"texts": ["one"]}, {"by": ["counterfactual"]}, "has no counterfactual"),
        ({"texts": ["one"], "counterfactual": "three"}, {}, "its counterfactual 6"),
        ({"texts": ["one"], "counterfactual": ""}, {}, "counterfactual of prompt 1 is empty"),
        ({"texts": ["one"]}, {"by": ["mean"], "means": "prompts"}, "at least two prompts"),
        (
            {"texts": ["one", "three"]},
            {"by": ["mean"], "means": "positions"},
            "need prompts of one length",
        ),
    ],
)
def test_what_cannot_be_tried_is_one_sentence_and_leaves_no_run(
    asked, tmp_path, prompts, ablation, words
):
    with pytest.raises(LmscopeError, match=words):
        trace(asked(prompts, **ablation), root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_misspelt_key_in_a_file_of_prompts_is_pointed_out(asked, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "one", "counterfacual": "two"}) + "\n")
    with pytest.raises(LmscopeError, match="'counterfacual', which nothing reads: write 'counterf"):
        trace(asked({"file": str(file)}), root=tmp_path / "runs")


def test_other_keys_of_a_file_of_prompts_may_stand_there(asked, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "one", "source": "mine"}) + "\n")
    assert trace(asked({"file": str(file)}), root=tmp_path / "runs").status == "done"
