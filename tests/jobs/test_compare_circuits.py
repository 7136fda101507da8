"""Circuits of many prompts, found in three ways, as a job and as a command."""

import json

import pytest

from lmscope.circuits.comparison import Case, ComparisonOptions, compare
from lmscope.circuits.faithfulness import FaithfulnessOptions
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.target_text import parse_target, resolve_target
from lmscope.cli.main import main
from lmscope.core.errors import LmscopeError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs import compare_circuits as job
from lmscope.jobs.trace_prompts import Prompt, tokens_of
from lmscope.models.language_model import LanguageModel

TEXTS = ["the soldier", "the sailors", "a stone too"]
FRACTIONS = (0.1, 0.5, 1.0)


@pytest.fixture(scope="module")
def asked(trained):
    def asked(**changes):
        values = {
            "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 0},
            "prompts": {"texts": TEXTS, "target": '"e"'},
            "comparison": {"fractions": FRACTIONS, "completeness": True},
            "settings": [{"where": "linear"}, {"where": "real"}],
        }
        return job.CompareCircuitsRecipe.from_mapping({**values, **changes})

    return asked


@pytest.fixture(scope="module")
def done(asked, tmp_path_factory):
    return job.compare_circuits(asked(), root=tmp_path_factory.mktemp("circuits"))


def test_each_setting_is_what_the_library_says_of_the_same_prompts(done, trained, shelf):
    model = LanguageModel.load(str(shelf / "model"))
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    replacement = Replacement(model, [Dictionary.load(folder)])
    target = resolve_target(parse_target('"e"'), model, {})
    cases = [Case(tuple(tokens_of(model, Prompt(name="", text=t))), target) for t in TEXTS]
    for one in job.read_circuits(done).settings:
        options = ComparisonOptions(fractions=FRACTIONS, tried=one.tried)
        again = compare(replacement, cases, options)
        for mine, theirs in zip(one.report.methods, again.methods, strict=True):
            values = [estimate.value for estimate in mine.faithfulness]
            assert values == pytest.approx([e.value for e in theirs.faithfulness], abs=1e-4)
        assert one.report.n_prompts == 3


def test_the_whole_model_is_faithful_to_itself(done):
    for one in job.read_circuits(done).settings:
        assert one.tried.errors == "kept"
        for method in one.report.methods:
            assert method.faithfulness[-1].value == pytest.approx(1, abs=1e-3)
            assert method.completeness[-1].value == pytest.approx(0, abs=1e-3)


def test_a_stopped_comparison_goes_on_with_the_prompts_that_are_left(
    asked, done, tmp_path, monkeypatch
):
    tried, real = [], job.try_case

    def stops_at_the_third(*given, number, **options):
        if len(tried) == 3:
            raise KeyboardInterrupt
        tried.append(number)
        return real(*given, number=number, **options)

    monkeypatch.setattr(job, "try_case", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        job.compare_circuits(asked(), root=tmp_path)
    (stopped,) = tmp_path.glob("*circuits*")
    tried.clear()
    monkeypatch.setattr(
        job,
        "try_case",
        lambda *g, number, **o: (tried.append(number), real(*g, number=number, **o))[1],
    )
    again = job.compare_circuits(asked(), root=tmp_path, resume=stopped)
    assert tried == [1, 2, 2]
    assert job.read_circuits(again) == job.read_circuits(done)


def test_a_prompt_below_whose_target_nothing_fires_is_left_out_by_name(asked, tmp_path):
    prompts = tmp_path / "some.jsonl"
    rows = [{"prompt": "t", "name": "short", "target": "resid_post@1/3"}, {"prompt": TEXTS[0]}]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = job.compare_circuits(
        asked(prompts={"file": str(prompts), "target": '"e"'}), root=tmp_path / "runs"
    )
    found = job.read_circuits(run)
    assert list(found.left_out) == ["0000-short"]
    assert [one.report.n_prompts for one in found.settings] == [1, 1]


def test_without_counterfactuals_they_cannot_be_put_in(asked, tmp_path):
    with pytest.raises(LmscopeError, match="has no counterfactual"):
        job.compare_circuits(
            asked(comparison={"fractions": FRACTIONS, "ablation": "counterfactual"}), root=tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_without_prompts_it_says_where_to_get_some(capsys, tmp_path):
    assert main(["circuits", "--dictionaries", "none", "--runs-dir", str(tmp_path)]) == 2
    assert "There are no prompts to find circuits on" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_plan_counts_circuits(asked):
    plan = job.plan_circuits(asked(at_most=2)).to_mapping()
    assert plan["n_prompts"] == 2
    assert (
        plan["circuits_tried"] == 3 * 3 * 2 * 2 * 2
    )  # methods, sizes, with the rest, prompts, settings


def test_usual_settings_are_the_linear_and_the_real_model():
    assert job.CompareCircuitsRecipe().settings == (
        FaithfulnessOptions(where="linear"),
        FaithfulnessOptions(where="real"),
        FaithfulnessOptions(where="real", errors="removed"),
    )


def test_the_command_prints_a_table_for_each_setting(trained, tmp_path, capsys):
    prompts = tmp_path / "some.txt"
    prompts.write_text("\n".join(TEXTS))
    words = ["circuits", str(prompts), "--target", '"e"', "--dictionaries", str(trained.path)]
    words += ["--calibration-tokens", "0", "--runs-dir", str(tmp_path / "runs"), "--at-most", "2"]
    words += ["--set", "comparison.fractions=[0.2, 1.0]"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("2 prompts") == 3
    assert {"hierarchical", "standard", "random", "CPR"} <= set(shown.split())
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["report"]["n_prompts"] for one in report["settings"]] == [2, 2, 2]


def test_what_lies_outside_is_tried_only_when_asked_for():
    values = {"comparison": {"fractions": [0.5, 1.0]}}
    assert not job.CompareCircuitsRecipe.from_mapping(values).comparison.completeness
    values["comparison"]["completeness"] = True
    assert job.CompareCircuitsRecipe.from_mapping(values).comparison.completeness
