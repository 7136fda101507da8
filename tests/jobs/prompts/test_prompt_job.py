"""The job: it tunes, chooses, measures, saves, stops and goes on; what is wrong is one sentence."""

import json
import shutil
import signal

import pytest
import torch

from lmscope.core.errors import LmscopeError, ModelError, RecipeError
from lmscope.jobs.prompt import FOLDER, REPORT_FILE, plan_prompt, tune_prompt
from lmscope.jobs.prompt_apply import apply_prompt
from lmscope.jobs.prompt_comparison import compare_prompts
from lmscope.jobs.prompt_data import open_data
from lmscope.jobs.running import Silent
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.prompting.tuned_prompt import SavedPrompt
from lmscope.runs.run import Run
from lmscope.runs.signals import Interrupted


class StopAfter(Silent):
    """Sends this process SIGTERM after a generation."""

    def __init__(self, generation: int) -> None:
        self.generation = generation

    def on_metrics(self, step, metrics) -> None:
        if step == self.generation:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("kind", ["bbt", "bbtv2", "joint"])
def test_the_report_says_what_the_saved_prompt_does(kind, prompt_recipe, tmp_path) -> None:
    recipe = prompt_recipe(method={"kind": kind})
    tuned = tune_prompt(recipe, root=tmp_path)
    report, saved = tuned.report, SavedPrompt.load(tuned.run.artifacts / FOLDER)
    assert tuned.run.status == "done"
    assert report.n_calls <= 40
    model = LanguageModel.load(recipe.model.name, dtype="float32")
    split = open_data(recipe.data, recipe.place, model)
    assert split.test is not None
    scorer = ModelScorer(model, split.test, kind="whole")
    for arm, prompts in ((report.manual, Prompts({})), (report.tuned, saved.prompts())):
        scores = scorer.scores(prompts)[0]
        right = (scores.argmax(-1) == scorer.labels).float().mean()
        nats = torch.nn.functional.cross_entropy(scores, scorer.labels)
        assert arm is not None
        assert arm.metric.value == pytest.approx(float(right))
        assert arm.loss.value == pytest.approx(float(nats), rel=1e-4)
        assert sum(map(sum, arm.confusion)) == report.n_test == 40
    assert report.difference is not None
    assert report.difference.value == pytest.approx(
        report.tuned.metric.value - report.manual.metric.value
    )
    assert report.n_numbers in (0, 8 * {"bbt": 1, "bbtv2": 3, "joint": 1}[kind])


def test_train_dev_and_test_share_no_text(prompt_recipe) -> None:
    recipe = prompt_recipe()
    model = LanguageModel.load(recipe.model.name, dtype="float32")
    split = open_data(recipe.data, recipe.place, model)
    rows = [{(r.before, r.after) for r in part.rows} for part in (split.train, split.dev)]
    assert not rows[0] & rows[1]
    assert [sum(r.label == label for r in split.train.rows) for label in (0, 1)] == [4, 4]


@pytest.mark.parametrize("kind", ["bbtv2", "joint"])
def test_a_killed_run_goes_on_to_the_same_bytes(kind, prompt_recipe, tmp_path) -> None:
    recipe = prompt_recipe(method={"kind": kind})
    whole = tune_prompt(recipe, root=tmp_path / "whole").run
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        tune_prompt(recipe, root=tmp_path / "part", listeners=[StopAfter(3)])
    (part,) = (tmp_path / "part").iterdir()
    # As after kill -9: the newest checkpoint is gone, what was told since is told again.
    newest = sorted((part / "checkpoints").iterdir())[-1]
    if len(list((part / "checkpoints").iterdir())) > 1:
        shutil.rmtree(newest)
    resumed = tune_prompt(recipe, root=tmp_path / "part", resume=part).run
    for name in (f"{FOLDER}/numbers.safetensors", f"{FOLDER}/prompt.json"):
        assert (resumed.artifacts / name).read_bytes() == (whole.artifacts / name).read_bytes()
    assert resumed.metrics_rows() == whole.metrics_rows()
    reports = [json.loads((run.artifacts / REPORT_FILE).read_text()) for run in (resumed, whole)]
    for report in reports:
        report.pop("flops_per_call")  # what a stopped process computed is counted by none
    assert reports[0] == reports[1]


def test_a_plan_counts_without_asking(prompt_recipe) -> None:
    values = plan_prompt(prompt_recipe(method={"kind": "bbtv2"}, n_calls=47)).values
    assert (values["n_train"], values["n_dev"], values["n_test"]) == (8, 8, 40)
    assert (values["n_blocks"], values["n_numbers"]) == (3, 24)
    assert (values["n_generations"], values["n_calls"]) == (9, 45)


def test_a_tuned_prompt_is_applied_to_texts_of_ones_own(prompt_recipe, tmp_path) -> None:
    tuned = tune_prompt(prompt_recipe(n_calls=20), root=tmp_path)
    found = apply_prompt(tuned.run.path, ["aaca", "bbcb"], {}, Silent())
    assert [one.text for one in found.texts] == ["aaca", "bbcb"]
    for one in found.texts:
        assert sum(one.probabilities.values()) == pytest.approx(1.0)
        assert one.probabilities[one.label] >= 0.5
    with pytest.raises(LmscopeError, match="no other 'text_b'"):
        apply_prompt(tuned.run.path, ["a"], {"text_b": "b"}, Silent())


def test_a_prompt_of_another_model_is_refused(prompt_recipe, tmp_path) -> None:
    tuned = tune_prompt(prompt_recipe(n_calls=20), root=tmp_path)
    saved = SavedPrompt.load(tuned.run.artifacts / FOLDER)
    with pytest.raises(ModelError, match="with other weights than"):
        saved.check_model(miniature("llama", seed=7))


def test_runs_are_compared_on_the_same_examples(prompt_recipe, tmp_path) -> None:
    runs = [
        tune_prompt(prompt_recipe(method={"kind": kind}), root=tmp_path).run
        for kind in ("bbt", "joint")
    ]
    found = compare_prompts([run.path for run in runs])
    assert [one.method for one in found.runs] == ["bbt", "joint"]
    one, two = found.runs
    assert one.less_first is None
    assert two.less_first is not None
    assert two.less_first.value == pytest.approx(two.metric.value - one.metric.value)
    with pytest.raises(RecipeError, match="1 runs were named"):
        compare_prompts([runs[0].path])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_calls": 4}, "less than one generation of 5"),
        ({"data": {"n_each": 120}}, "different texts"),
        ({"data": {"n_each": 0}}, "nothing to choose by"),
        ({"data": {"form": "masked"}}, "predicts the next token"),
        ({"data": {"form": "cloze"}}, "has no form 'cloze'"),
        ({"data": {"task": "sst-2"}}, "Did you mean"),
        ({"method": {"kind": "bbtv3"}}, "bbtv3"),
        ({"method": {"kind": "joint", "group": 3}}, "has no groups of layers"),
        ({"place": {"n_tokens": 50}}, "vocabulary"),
        ({"place": {"max_length": 5}}, "fits into 5 tokens"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_run(
    changes, said, prompt_values, tmp_path
) -> None:
    from lmscope.jobs.prompt import PromptRecipe

    with pytest.raises(LmscopeError, match=said) as failure:
        tune_prompt(PromptRecipe.from_mapping(prompt_values(**changes)), root=tmp_path)
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.iterdir())


def test_a_test_text_that_was_trained_on_is_refused(prompt_recipe, letters, tmp_path) -> None:
    recipe = prompt_recipe(data={"test": str(letters / "train.jsonl")})
    with pytest.raises(LmscopeError, match="would not be one"):
        tune_prompt(recipe, root=tmp_path)


def test_an_encoder_fills_in_masks(prompt_recipe, letters, tmp_path) -> None:
    recipe = prompt_recipe(model={"name": str(letters / "bert")}, n_calls=20)
    report = tune_prompt(recipe, root=tmp_path).report
    assert report.n_calls == 20
    with pytest.raises(RecipeError, match="fills in masks"):
        tune_prompt(
            prompt_recipe(model={"name": str(letters / "bert")}, data={"form": "postfix"}),
            root=tmp_path,
        )


def test_a_run_without_test_examples_measures_none(prompt_values, tmp_path) -> None:
    from lmscope.jobs.prompt import PromptRecipe

    values = prompt_values(n_calls=10)
    del values["data"]["test"]
    tuned = tune_prompt(PromptRecipe.from_mapping(values), root=tmp_path)
    assert tuned.report.manual is None
    assert Run.open(tuned.run.path).status == "done"
