import pytest

from lmscope.core.errors import ArtifactError, ModelError, RecipeError
from lmscope.jobs import evaluate as evaluate_module
from lmscope.jobs.evaluate import (
    EvaluateRecipe,
    evaluate,
    plan_evaluation,
)
from lmscope.jobs.evaluation_task import trained_dictionaries
from lmscope.jobs.reports import read_health
from lmscope.jobs.train import train
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

NAME = "resid_post-1-64-topk-4"


@pytest.fixture
def measure(trained, values, tmp_path):
    """`measure(**{"text.source": ...})`: the report of an evaluation of the finished run."""

    def measure(**changes):
        run = evaluate(wanted(trained.path, values, **changes), root=tmp_path)
        return read_health(run.artifacts / "health" / NAME)

    return measure


def wanted(path, values, **changes):
    evaluation = values(**changes)["evaluation"]
    others = {
        part: {key.split(".")[1]: v for key, v in changes.items() if key.startswith(part)}
        for part in ("model", "text")
    }
    return EvaluateRecipe.from_mapping(
        {
            "dictionary": str(path),
            "evaluation": evaluation,
            "seed": changes.get("seed", 0),
            **others,
        }
    )


def test_the_figures_of_the_training_run_come_again(measure, trained):
    assert measure() == read_health(trained.artifacts / "health" / NAME)


def test_a_run_with_another_seed_is_measured_on_its_own_held_out_text(recipe, values, tmp_path):
    run = train(recipe(seed=3, **{"training.steps": 5}), root=tmp_path)
    again = evaluate(wanted(run.path, values, seed=3), root=tmp_path / "evaluations")
    other = evaluate(wanted(run.path, values, seed=4), root=tmp_path / "evaluations")
    first, second, third = (read_health(r.artifacts / "health" / NAME) for r in (run, again, other))
    assert second == first
    assert third != first, "the seed of an evaluation moves its intervals"
    assert third.subject.text == first.subject.text
    assert third.sparsity == first.sparsity.model_copy(update={"l0": third.sparsity.l0})
    values_of = [r.reconstruction.explained_variance_centred.value for r in (first, third)]
    assert values_of[0] == values_of[1]


def test_longer_contexts(measure, trained):
    report = measure(**{"text.context_length": 64})
    assert report.subject.context_length == 64
    assert report.positions[-1].last == 63
    assert report != read_health(trained.artifacts / "health" / NAME)


def test_another_model_of_the_same_shape(measure, trained, shelf):
    own = read_health(trained.artifacts / "health" / NAME)
    report = measure(**{"model.name": str(shelf / "tuned")})
    assert report.subject.model_hash != own.subject.model_hash
    assert report.subject.text == own.subject.text
    assert (
        report.reconstruction.explained_variance_centred.high
        < own.reconstruction.explained_variance_centred.low
    )


def test_another_corpus(measure, trained, shelf):
    own = read_health(trained.artifacts / "health" / NAME)
    report = measure(**{"text.source": str(shelf / "other.jsonl")})
    assert report.subject.text != own.subject.text
    assert (
        report.reconstruction.explained_variance_centred.high
        < own.reconstruction.explained_variance_centred.low
    )


def test_a_model_of_another_shape_is_refused_and_leaves_no_run(measure, shelf, tmp_path):
    with pytest.raises(ModelError, match=r"with 32 coordinates; in '.*wide' it has 48"):
        measure(**{"model.name": str(shelf / "wide")})
    assert list_runs(tmp_path) == ()


def test_a_dictionary_without_its_run_needs_only_a_text(trained, values, shelf, tmp_path):
    folder = trained.artifacts / "dictionaries" / NAME
    short = {"text.context_length": 32, "text.held_out_fraction": 0.3}
    text = {"text.source": str(shelf / "text.jsonl"), **short}
    run = evaluate(wanted(folder, values, **text, **{"evaluation.tokens": 8192}), root=tmp_path)
    report = read_health(run.artifacts / "health" / NAME)
    assert report.subject.model_hash == trained.record.weights[report.subject.model]


def test_the_plan_fills_in_what_the_training_run_said(trained, values):
    plan = plan_evaluation(wanted(trained.path, values, **{"text.context_length": 64})).values
    assert plan["dictionaries"] == NAME
    assert plan["context_length"] == 64
    assert plan["model"].endswith("model")
    assert plan["tokens"] == 1024


def test_an_interrupted_evaluation_measures_only_what_is_left(recipe, values, tmp_path, stop_at):
    run = train(
        recipe(**{"dictionary.n_latents": [32, 48], "training.steps": 3, "evaluation.tokens": 0}),
        root=tmp_path / "train",
    )
    asked, root = wanted(run.path, values), tmp_path / "evaluate"
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, root=root, listeners=[stop_at(event="result")])
    (entry,) = list_runs(root)
    assert entry.run.status == "interrupted"
    resumed = evaluate(asked, root=root, resume=entry.path)
    measured = [e["name"] for e in resumed.events() if e["event"] == "result"]
    assert measured == ["resid_post-1-32-topk-4", "resid_post-1-48-topk-4"]
    assert Run.open(entry.path).status == "done"


def test_a_dictionary_that_was_cut_off_while_written_is_none(tmp_path):
    (tmp_path / "artifacts" / "dictionaries" / ".a.x1y2.part").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="holds no dictionary"):
        trained_dictionaries(tmp_path)


def test_nothing_to_measure_is_an_error(trained, values, tmp_path):
    with pytest.raises(RecipeError, match="nothing to measure"):
        evaluate(wanted(trained.path, values, **{"evaluation.tokens": 0}), root=tmp_path)


def test_longer_contexts_keep_the_tokens_of_a_block_and_of_a_pass():
    values = {
        "stream": {"block_contexts": 64, "forward_contexts": 16},
        "text": {"context_length": 256},
    }
    stream = evaluate_module._stream(values, 1024)
    assert (stream.block_contexts, stream.forward_contexts) == (16, 4)
    assert evaluate_module._stream(values, 256).block_contexts == 64
