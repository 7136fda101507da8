"""Tracing from a recipe to graphs on disk."""

import json

import pytest
import torch

from lmscope.circuits.graph import Graph
from lmscope.core.feature import FeatureId
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.trace import TraceRecipe, plan_trace, trace
from lmscope.jobs.trace_labels import features_of
from lmscope.jobs.trace_record import load_graph, read_report
from lmscope.models.language_model import LanguageModel


@pytest.fixture(scope="module")
def asked(trained):
    """`asked(**changes)`: a recipe that traces one prompt with the trained dictionary."""

    def asked(**changes):
        values = {
            "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 256},
            "prompts": {"texts": ["the soldier"]},
        }
        return TraceRecipe.from_mapping({**values, **changes})

    return asked


@pytest.fixture(scope="module")
def done(asked, tmp_path_factory):
    return trace(asked(sweep=[0.1, 0.0]), root=tmp_path_factory.mktemp("traced"))


def test_a_trace_leaves_a_graph_and_a_row_whose_ledger_holds(done):
    report = read_report(done)
    (row,) = report.traces
    ledger = row.ledger
    parts = ("tokens", "positions", "errors", "leaves", "biases", "cut")
    assert sum(ledger[name] for name in parts) == pytest.approx(row.value, abs=ledger["tolerance"])
    assert row.value == pytest.approx(row.model_value, rel=1e-4)
    assert row.predictions[0].logit == pytest.approx(row.value, rel=1e-4)
    graph = load_graph(done, row.name)
    assert (len(graph), len(graph.flow)) == (row.n_nodes, row.n_edges)
    assert graph.meta.target == row.target
    assert "".join(graph.meta.texts) == "<bos>the soldier"


def test_the_report_says_what_is_covered_and_what_is_not(done):
    report = read_report(done)
    assert list(report.dictionaries) == ["resid_post@1"]
    assert report.missing == tuple(
        f"{part}@{layer}" for layer in range(3) for part in ("attn_out", "mlp_out")
    )


def test_a_lower_threshold_keeps_more_and_cuts_nothing_at_0(done):
    (row,) = read_report(done).traces
    high, low = row.sweep
    assert high.n_features <= row.n_features <= low.n_features == row.n_reached
    assert low.cut == 0.0


def test_a_circuit_is_tried_in_the_linear_model_and_in_the_model_itself(done):
    (row,) = read_report(done).traces
    assert [(one.where, one.errors) for one in row.faithfulness] == [
        ("linear", "kept"),
        ("linear", "removed"),
        ("real", "kept"),
        ("real", "removed"),
    ]
    linear, real = row.faithfulness[0], row.faithfulness[2]
    assert linear.full == pytest.approx(row.value, rel=1e-5)
    assert real.full == pytest.approx(row.model_value, rel=1e-5)
    # In the linear model silencing what was cut takes away just what the ledger calls cut.
    assert linear.full - linear.kept == pytest.approx(row.ledger["cut"], abs=1e-4)


def test_an_unverified_trace_has_no_trials(asked, tmp_path):
    (row,) = read_report(trace(asked(verify=False), root=tmp_path)).traces
    assert row.faithfulness == ()


def test_equal_recipes_leave_equal_bytes(asked, tmp_path):
    first, second = (trace(asked(), root=tmp_path / name) for name in "ab")
    names = sorted(p.relative_to(first.artifacts) for p in first.artifacts.rglob("*.*"))
    assert len(names) == 3
    for name in names:
        assert (first.artifacts / name).read_bytes() == (second.artifacts / name).read_bytes()


def test_prompts_of_a_file_bring_their_own_targets_and_names(asked, tmp_path):
    rows = [{"prompt": "one", "target": '"e"', "name": "Mine!"}, {"prompt": "two"}]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = trace(asked(prompts={"file": str(file), "target": '"a"'}), root=tmp_path)
    first, second = read_report(run).traces
    assert (first.name, first.target) == ("0000-mine", 'logit "e" @3')
    assert (second.name, second.target) == ("0001-two", 'logit "a" @3')


def test_an_interrupted_trace_goes_on_with_the_prompts_that_are_left(asked, tmp_path, stop_at):
    recipe = asked(prompts={"texts": ["one", "two", "three"]})
    stop = stop_at()
    stop.on_progress = lambda phase, done, *_: (
        stop._stop() if (phase, done) == ("trace", 1) else None
    )
    with pytest.raises(KeyboardInterrupt):
        trace(recipe, root=tmp_path, listeners=[stop])
    (folder,) = tmp_path.iterdir()
    (first,) = (folder / "artifacts" / "graphs").glob("*.json")
    before = first.stat().st_mtime_ns
    run = trace(recipe, root=tmp_path, resume=folder)
    assert len(read_report(run).traces) == 3
    assert first.stat().st_mtime_ns == before
    whole = trace(recipe, root=tmp_path / "whole")
    assert (run.artifacts / "traces.json").read_bytes() == (
        whole.artifacts / "traces.json"
    ).read_bytes()


def test_half_precision_is_widened_and_told(asked, tmp_path):
    heard = []

    class Ear:
        def on_event(self, event, fields):
            heard.append((event, fields))

        def on_metrics(self, step, metrics):
            pass

        def on_progress(self, phase, done, total, fields):
            pass

    run = trace(asked(model={"dtype": "bfloat16"}), root=tmp_path, listeners=[Ear()])
    report = read_report(run)
    assert (report.stored_in, report.computed_in) == ("bfloat16", "float32")
    (told,) = (fields["message"] for event, fields in heard if event == "widened")
    assert "stored in bfloat16" in told


def test_the_linear_model_can_be_of_float64(asked, tmp_path):
    run = trace(asked(replacement={"dtype": "float64"}), root=tmp_path)
    report = read_report(run)
    assert report.computed_in == "float64"
    assert report.traces[0].ledger["tolerance"] < 1e-11


def test_no_dictionary_is_a_circuit_of_tokens(asked, shelf, tmp_path):
    recipe = TraceRecipe.from_mapping(
        {
            "model": {"name": str(shelf / "model"), "device": "cpu"},
            "dictionaries": {"sources": ["none"]},
            "prompts": {"texts": ["one"]},
        }
    )
    (row,) = read_report(trace(recipe, root=tmp_path)).traces
    assert row.n_features == 0
    assert row.ledger["cut"] == row.ledger["errors"] == 0.0


def test_a_folder_of_another_format_is_read_too(asked, trained, shelf, tmp_path):
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    target = tmp_path / "foreign"
    (target / "deep").mkdir(parents=True)
    Dictionary.load(folder).save(target / "deep" / "mine")
    choice = {"sources": [str(target)], "calibration_tokens": 0}
    run = trace(asked(dictionaries=choice, prompts={"texts": ["one"]}), root=tmp_path)
    assert read_report(run).dictionaries == {"resid_post@1": "deep-mine"}


def test_a_feature_and_a_score_are_traced_as_well(asked, trained, tmp_path):
    targets = ["resid_post@1/3@2", "score 1.0 3->1"]
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "one", "target": target} for target in targets]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    feature, score = read_report(trace(asked(prompts={"file": str(file)}), root=tmp_path)).traces
    assert (feature.target, feature.position) == ("resid_post@1/3 @2", 2)
    assert feature.model_value is None
    assert score.target == "score of head 1.0, 3 to 1 (both)"
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    model = LanguageModel.load(str(trained.recipe_values["model"]["name"]), device="cpu")
    x = model.read(model.batch("one"), ["resid_post@1"])
    dictionary = Dictionary.load(folder)
    with torch.no_grad():
        pre = dictionary.pre_activations(next(iter(x.values()))[0, 2])[3]
    assert feature.value == pytest.approx(float(pre), rel=1e-3, abs=1e-4)


def test_features_of_a_graph_are_named_by_their_dictionary(done, trained):
    (row,) = read_report(done).traces
    graph = load_graph(done, row.name)
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    features = features_of(graph)
    kept = [node for node in graph.nodes if node.kind == "feature"]
    assert features == {node.id: FeatureId(folder.name, node.latent) for node in kept}


def test_a_plan_names_dictionaries_and_writes_nothing(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_trace(asked()).to_mapping()
    assert plan["n_prompts"] == 1
    assert [row["writes"] for row in plan["dictionaries"]] == ["resid_post@1"]
    assert not list(tmp_path.iterdir())


def test_the_public_names_are_the_job_and_the_graph():
    import lmscope

    assert lmscope.trace is trace
    assert lmscope.Graph is Graph
