"""Baselines of a recipe: the same examples, a report as plain values, and errors of one sentence."""

import json

import pytest

from lmscope.core.errors import RecipeError
from lmscope.jobs.prompt import tune_prompt
from lmscope.jobs.prompt_baselines import BaselineReport, measure_baselines
from lmscope.jobs.running import Silent
from lmscope.prompting.baselines.config import BASELINES, USUAL, BaselineConfig

SMALL = BaselineConfig.from_mapping(
    {"in_context": {"separator": " ", "n_demonstrations": 2}, "gradient": {"every_steps": 4}}
)


class Heard(Silent):
    """Keeps the phases of progress."""

    def __init__(self) -> None:
        self.phases = []

    def on_progress(self, phase, done, total, fields) -> None:
        self.phases.append((phase, done, total))


@pytest.fixture
def measured(prompt_recipe) -> BaselineReport:
    """All baselines of the toy task."""
    return measure_baselines(prompt_recipe(n_calls=24), BASELINES, Silent(), config=SMALL)


def test_all_baselines_are_measured_on_the_same_examples(measured, tmp_path) -> None:
    assert tuple(one.name for one in measured.baselines) == BASELINES
    for one in measured.baselines:
        assert one.test.metric.n == measured.n_test == 40
        assert one.test.metric.low <= one.test.metric.value <= one.test.metric.high
        assert sum(map(sum, one.test.confusion)) == 40
        assert (one.less_manual is None) == (one.name == "manual")
        assert one.n_calls <= measured.n_calls == 24
        assert one.flops_per_example > 0
    manual = measured.baselines[0].test.metric.value
    bias = measured.baselines[1]
    assert bias.less_manual.value == pytest.approx(bias.test.metric.value - manual)
    measured.save(tmp_path / "baselines.json")
    assert BaselineReport.load(tmp_path / "baselines.json") == measured
    json.dumps(measured.to_mapping())
    assert tuple(row[0] for row in measured.table().rows) == BASELINES


def test_the_manual_arm_is_that_of_the_tuned_prompts_report(prompt_recipe, tmp_path) -> None:
    recipe = prompt_recipe(n_calls=10)
    tuned = tune_prompt(recipe, root=tmp_path).report.manual
    (found,) = measure_baselines(recipe, ["manual"], Silent()).baselines
    assert tuned is not None
    assert found.test.metric == tuned.metric  # the interval too: the same resamples
    assert found.test.confusion == tuned.confusion
    assert found.test.loss.value == pytest.approx(tuned.loss.value, rel=1e-4)


def test_a_chosen_baseline_is_measured_alone(prompt_recipe) -> None:
    heard = Heard()
    report = measure_baselines(prompt_recipe(), ["label_bias"], heard, config=SMALL)
    assert [one.name for one in report.baselines] == ["label_bias"]
    assert report.baselines[0].less_manual is not None
    assert [one for one in heard.phases if one[0] == "baselines"] == [
        ("baselines", 1, 2),
        ("baselines", 2, 2),
    ]


def test_labels_of_the_test_file_change_no_choice(
    prompt_recipe, measured, letters, tmp_path
) -> None:
    rows = [json.loads(line) for line in (letters / "test.jsonl").read_text().splitlines()]
    for row in rows:
        row["label"] = "b" if row["label"] == "a" else "a"
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    recipe = prompt_recipe(n_calls=24, data={"test": str(turned)})
    other = measure_baselines(recipe, BASELINES, Silent(), config=SMALL)
    for one, two in zip(measured.baselines, other.baselines, strict=True):
        assert one.chosen == two.chosen
        assert one.flops == two.flops
        # What was told is the same, so each row of one confusion is the other row of the other.
        assert one.test.confusion == two.test.confusion[::-1]
        assert two.test.metric.value == pytest.approx(1 - one.test.metric.value)


def test_an_encoder_has_baselines_too(prompt_recipe, letters) -> None:
    recipe = prompt_recipe(model={"name": str(letters / "bert")}, n_calls=9)
    report = measure_baselines(recipe, (), Silent(), config=SMALL)
    assert tuple(one.name for one in report.baselines) == USUAL


@pytest.mark.parametrize(
    ("changes", "names", "said"),
    [
        ({"n_calls": 5}, ["gradient"], "cannot be shared out"),
        ({"n_calls": 2}, ["gradient"], "less than one step"),
        ({"loss": "error"}, ["gradient"], "has no gradient"),
        ({}, ["lable_bias"], "did you mean label_bias"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(changes, names, said, prompt_recipe) -> None:
    with pytest.raises(RecipeError, match=f"(?i){said}"):
        measure_baselines(prompt_recipe(**changes), names, Silent(), config=SMALL)


def test_without_test_examples_there_is_nothing_to_measure(prompt_values) -> None:
    from lmscope.jobs.prompt import PromptRecipe

    values = prompt_values()
    del values["data"]["test"]
    with pytest.raises(RecipeError, match=r"give data\.test"):
        measure_baselines(PromptRecipe.from_mapping(values), (), Silent())
