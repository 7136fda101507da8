import json

import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.best import best_features
from lmscope.jobs.atlas_probe import probe_text
from lmscope.jobs.demo import DemoRecipe, demo
from lmscope.jobs.reports import read_health
from lmscope.jobs.running import Silent, running
from lmscope.runs.run import Run

NAME = "resid_post-1-64-topk-4"
ESTIMATES = (
    "l0",
    "explained_variance_centred",
    "explained_variance_uncentred",
    "pca_explained_variance_centred",
    "random_explained_variance_centred",
    "ce_recovered_zero",
    "ce_recovered_mean",
)
SCORES = ("detection", "fuzzing", "intruder", "simulation")


@pytest.fixture(scope="module")
def wanted(values):
    changes = {"job": "demo", "name": "demo", "n_features": 3, "n_examples": 2}
    census = {"census.tokens": 6000, "census.batch_tokens": 512, "census.calibration_tokens": 512}
    return DemoRecipe.from_mapping(values(**changes, **census, **{"training.steps": 120}))


@pytest.fixture(scope="module")
def shown(wanted, tmp_path_factory):
    return demo(wanted, root=tmp_path_factory.mktemp("runs"))


def test_the_json_object_has_every_figure_and_its_interval(shown):
    figures = json.loads(json.dumps(shown.to_mapping()))
    plain = {"run", "model", "site", "n_latents", "n_tokens", "elapsed_s", "dead_fraction"}
    plain |= {"n_said", "not_known"}
    scores = {key for key in figures if key in SCORES or key.startswith("detection_")}
    intervals = {f"{name}_interval" for name in ESTIMATES}
    assert figures.keys() - scores == plain | set(ESTIMATES) | intervals
    assert (figures["site"], figures["n_latents"]) == ("resid_post@1", 64)
    assert figures["elapsed_s"] > 0
    for name in ESTIMATES:
        if figures[name] is None:  # taking the site away costs this model nothing
            assert name == "ce_recovered_zero"
            continue
        low, high = figures[f"{name}_interval"]
        assert low <= figures[name] <= high


def test_the_figures_are_those_of_the_report(shown):
    report = read_health(shown.run.artifacts / "health" / NAME)
    assert report.headline().items() <= shown.figures.items()
    assert shown.figures["run"] == str(shown.run.path)
    assert Run.open(shown.run.path).status == "done"


def test_every_plot_is_a_picture_in_the_run(shown):
    names = [path.name for path in shown.plots]
    assert names == ["loss.png", "l0.png", "explained_variance_centred.png", "frequency.png"]
    for path in shown.plots:
        assert path.parent == shown.run.artifacts / "plots"
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_atlas_of_the_dictionary_lies_in_the_run_with_its_labels(shown):
    with Atlas.open(shown.run.path, name=NAME) as atlas:
        assert len(atlas) == 64
        assert len(atlas.labels) == 1
        known = set(atlas.filter(known=True).latents)
        features = best_features(atlas, 3, min_documents=1)
        assert probe_text(
            atlas, "no doubt.", Silent()
        ).ranked()  # finds the dictionary in its own run
    assert {feature.record.latent for feature in features} <= known
    assert shown.labels.caption.startswith(NAME)


def test_features_are_shown_with_their_examples_and_kept(shown):
    kept = json.loads((shown.run.artifacts / "features.json").read_text(encoding="utf-8"))
    assert [feature.headline for feature in shown.features] == [one["headline"] for one in kept]
    assert len(kept) <= 3
    for feature in shown.features:
        assert 0 < len(feature.strips) <= 2
        assert all(max(strip.values) > 0 for strip in feature.strips)


def test_the_table_sets_the_dictionary_beside_its_baselines(shown):
    assert shown.table.columns == ("figure", "dictionary", "pca", "random", "identity")
    figures = {row[0]: row[1:] for row in shown.table.rows}
    estimates = figures["explained variance, centred"]
    assert estimates[0].startswith(f"{shown.figures['explained_variance_centred']:.3f} [")
    assert estimates[1].startswith(f"{shown.figures['pca_explained_variance_centred']:.3f} [")
    assert estimates[-1] == "1.000"
    assert "held-out tokens" in shown.table.caption


def test_an_interrupted_demo_goes_on_to_the_same_figures(wanted, shown, tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        demo(wanted, root=tmp_path, listeners=[stop_at(50)])
    (folder,) = tmp_path.iterdir()
    resumed = demo(wanted, root=tmp_path, resume=folder)
    apart = {"run", "elapsed_s"}
    assert {k: v for k, v in resumed.figures.items() if k not in apart} == {
        k: v for k, v in shown.figures.items() if k not in apart
    }


def test_a_demo_that_goes_on_after_its_measurement_does_not_measure_again(
    wanted, shown, tmp_path, monkeypatch
):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    def again(*_, **__):
        raise AssertionError("measured twice")

    with monkeypatch.context() as patched:
        patched.setattr("lmscope.jobs.demo.draw", stopped)
        with pytest.raises(KeyboardInterrupt):
            demo(wanted, root=tmp_path)
    (folder,) = tmp_path.iterdir()
    monkeypatch.setattr("lmscope.jobs.examiner.Examiner.measure", again)
    resumed = demo(wanted, root=tmp_path, resume=folder)
    assert resumed.figures["ce_recovered_mean"] == shown.figures["ce_recovered_mean"]
    assert resumed.figures["dead_fraction"] == shown.figures["dead_fraction"]


def test_a_failed_figure_leaves_the_trained_run_as_it_was(wanted, tmp_path):
    with pytest.raises(ZeroDivisionError), running(wanted, tmp_path, (), None):
        1 / 0  # noqa: B018 (any defect after the folder was made)
    (folder,) = tmp_path.iterdir()
    assert Run.open(folder).status == "failed"
