import json
from itertools import combinations

import pytest
import torch

from lmscope.core.errors import DataError, RecipeError, RunError, SiteError
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.dictionary_choice import DictionaryChoice, dictionary_configs
from lmscope.jobs.plan import plan_training
from lmscope.jobs.reports import read_health
from lmscope.jobs.running import running
from lmscope.jobs.train import GroupTraining, Training, train
from lmscope.models.miniature import miniature
from lmscope.runs.listing import list_runs
from lmscope.training.checkpoint import check_objective_name

NAME = "resid_post-1-64-topk-4"


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


def test_a_run_holds_what_train_promises(trained):
    assert trained.status == "done"
    dictionary = Dictionary.load(trained.artifacts / "dictionaries" / NAME)
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(64))
    assert float(dictionary.scale_in) == float(dictionary.scale_out) == 1.0
    assert list(trained.record.weights.values()) == [dictionary.config.model_hash]
    assert [row["step"] for row in trained.metrics_rows()] == [1, 10, 20, 30]
    assert read_health(trained.artifacts / "health" / NAME).subject.n_latents == 64


def test_the_events_tell_folder_model_phases_and_headline(trained):
    events = trained.events()
    assert events[0]["event"] == "started"
    assert events[0]["folder"] == str(trained.path)
    phases = [event["phase"] for event in events if event["event"] == "phase"]
    assert phases == ["load", "text", "calibrate", "train", "baselines", "evaluate"]
    figures = trained.results()[NAME]
    assert figures == read_health(trained.artifacts / "health" / NAME).headline()
    assert figures["explained_variance_centred"] > figures["random_explained_variance_centred"]


def test_what_is_saved_is_what_was_measured(recipe, tmp_path):
    wanted = recipe(**{"dictionary.n_latents": [32, 48]})
    with running(wanted, tmp_path, (), None) as (run, stop):
        measured = Training(wanted, run, stop).go()
    assert [one.name for one in measured] == ["resid_post-1-32-topk-4", "resid_post-1-48-topk-4"]
    for one in measured:
        loaded = Dictionary.load(one.path)
        assert loaded.config == one.dictionary.config
        for key, value in one.dictionary.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[key])
        assert read_health(run.artifacts / "health" / one.name) == one.health.report


def test_transcoders_are_paired_layer_by_layer(recipe, tmp_path):
    wanted = recipe(
        **{
            "dictionary.sites": [],
            "dictionary.transcoders": [["mlp_in@*", "mlp_out@*"]],
            "dictionary.skip": True,
            "training.steps": 5,
        }
    )
    run = train(wanted, root=tmp_path)
    found = {path.name for path in (run.artifacts / "dictionaries").iterdir()}
    assert found == {f"mlp_in-{i}.to.mlp_out-{i}-64-topk-4" for i in range(3)}
    one = Dictionary.load(run.artifacts / "dictionaries" / "mlp_in-2.to.mlp_out-2-64-topk-4")
    assert (str(one.config.read_site), str(one.config.write_site)) == ("mlp_in@2", "mlp_out@2")
    assert one.W_skip is not None


def test_every_site_is_combined_with_every_width_and_sparsity(model):
    choice = DictionaryChoice(
        sites=("resid_post@0", "mlp_out@*"), n_latents=(32, 64), sparsity=(TopK(k=4), ReLU())
    )
    configs = dictionary_configs(choice, model)
    assert len(configs) == 4 * 2 * 2
    assert {(c.reads[0], c.n_latents, c.sparsity.kind) for c in configs.values()} == {
        (site, n, kind)
        for site in ("resid_post@0", "mlp_out@0", "mlp_out@1", "mlp_out@2")
        for n in (32, 64)
        for kind in ("topk", "relu")
    }


ANNEALED = {"kind": "topk", "annealing": {"style": "off"}}
UNEQUAL = (
    TopK(k=4),
    TopK(k=5),
    BatchTopK(k=4),
    ReLU(),
    ReLU(l1_coefficient=1e20),
    ReLU(l1_coefficient=1e-7),
    ReLU(weight_by_decoder_norm=False),
    JumpReLU(),
    JumpReLU(target_l0=4.0),
)


def test_unequal_dictionaries_have_unequal_names_that_can_be_files(model):
    for pair in combinations(UNEQUAL, 2):
        choice = DictionaryChoice(sites=("resid_post@1",), n_latents=(64,), sparsity=pair)
        names = dictionary_configs(choice, model)
        assert len(names) == 2
        for name in names:
            check_objective_name(name)


@pytest.mark.parametrize(
    ("choice", "error", "said"),
    [
        ({}, RecipeError, "There is no dictionary to train"),
        ({"sites": ["resid_post@1", "resid_post@*"], "n_latents": [64, 64]}, RecipeError, "twice"),
        (
            {"sites": ["resid_post@1"], "sparsity": [ANNEALED, {"kind": "topk"}]},
            RecipeError,
            "annealing of k alone",
        ),
        ({"transcoders": [["mlp_in@1", "mlp_out@*"]]}, RecipeError, "cannot be paired"),
        ({"sites": ["resid_pst@1"]}, SiteError, "resid_post"),
        ({"sites": ["resid_post@7"]}, SiteError, "resid_post@7"),
        ({"sites": ["pattern@1"]}, SiteError, "no fixed width"),
        ({"sites": ["resid_post@1"], "n_latents": [4]}, RecipeError, "k = 50"),
    ],
)
def test_a_choice_that_cannot_be_trained_is_refused(model, choice, error, said):
    with pytest.raises(error, match=said):
        dictionary_configs(DictionaryChoice.from_mapping(choice), model)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_threshold_tokens_end_in_one_jumprelu_threshold(recipe, tmp_path, kind):
    wanted = recipe(
        **{
            "dictionary.sparsity": [{"kind": kind, "k": 4}],
            "dictionary.threshold_tokens": 500,
            "evaluation.tokens": 512,
        }
    )
    run = train(wanted, root=tmp_path)
    dictionary = Dictionary.load(run.artifacts / "dictionaries" / f"resid_post-1-64-{kind}-4")
    assert dictionary.config.sparsity.kind == "jumprelu"
    assert float(dictionary.threshold.min()) == float(dictionary.threshold.max()) > 0
    report = read_health(run.artifacts / "health" / f"resid_post-1-64-{kind}-4")
    assert report.sparsity.l0.value == pytest.approx(4, abs=0.8)


def test_the_plan_writes_nothing_and_agrees_with_the_run(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = {"training.accumulate": 2, "text.max_tokens": 2000, "stream.passes": 2}
    wanted = recipe(**short, **{"dictionary.n_latents": [32, 48]})
    wanted = wanted.model_copy(
        update={"training": wanted.training.model_copy(update={"steps": None})}
    )
    plan = plan_training(wanted).to_mapping()
    assert list(tmp_path.iterdir()) == []
    with running(wanted, tmp_path, (), None) as (run, stop):
        training = Training(wanted, run, stop)
        measured = training.go()
    assert plan["n_steps"] == run.metrics_rows()[-1]["step"]
    checkpoints = GroupTraining(training, training.groups[0]).checkpoints
    stream_state = checkpoints.latest().shared["stream"]
    assert plan["trained_tokens"] == stream_state["batches"] * 32
    assert plan["tokens_per_step"] == 64
    assert plan["n_contexts"] == len(training.text.train)
    assert plan["n_tokens"] == training.text.train.n_tokens
    assert plan["n_held_out_tokens"] == training.text.held_out.n_tokens <= 1024
    assert [row["name"] for row in plan["dictionaries"]] == [one.name for one in measured]
    parameters = [p for one in measured for p in one.dictionary.parameters()]
    assert plan["n_parameters"] == sum(p.numel() for p in parameters)


def test_without_evaluation_tokens_nothing_is_measured(recipe, tmp_path):
    run = train(recipe(**{"evaluation.tokens": 0, "training.steps": 3}), root=tmp_path)
    assert [path.name for path in run.artifacts.iterdir()] == ["dictionaries"]
    assert plan_training(recipe(**{"evaluation.tokens": 0})).values["n_held_out_tokens"] == 0


def test_what_cannot_be_measured_afterwards_is_refused_before_training(recipe, tmp_path):
    with pytest.raises(DataError, match="held out"):
        train(recipe(**{"text.held_out_fraction": 1e-6}), root=tmp_path)
    assert list_runs(tmp_path) == ()


def test_a_run_that_made_something_stays_when_it_fails(recipe, tmp_path):
    changes = {"training.lr": 1e30, "training.gradient_clip": 0, "training.log_every": 1}
    with pytest.raises(RunError, match="not a finite number"):
        train(recipe(**changes), root=tmp_path)
    (entry,) = list_runs(tmp_path)
    assert entry.run.status == "failed"
    assert "not a finite number" in entry.run.record.error


def test_activations_kept_on_disk_change_no_bit(recipe, tmp_path, trained, content):
    run = train(recipe(**{"stream.store": "disk"}), root=tmp_path)
    assert list((run.path / "activations").rglob("*.bin"))
    assert (
        content(run)[f"artifacts/dictionaries/{NAME}"]
        == (content(trained)[f"artifacts/dictionaries/{NAME}"])
    )


def test_equal_recipes_give_equal_runs(recipe, tmp_path, trained, content):
    assert content(train(recipe(), root=tmp_path)) == content(trained)


def test_the_recipe_in_the_folder_is_the_one_that_was_asked(recipe, trained):
    assert type(recipe()).from_mapping(trained.recipe_values) == recipe()
    assert json.loads((trained.path / "run.json").read_text())["status"] == "done"
