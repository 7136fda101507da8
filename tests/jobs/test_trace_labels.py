"""Labels of atlases beside the features of circuits."""

import shutil

import pytest

from lmscope.core.errors import ArtifactError
from lmscope.core.feature import FeatureId
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.atlas import AtlasRecipe, build_atlas
from lmscope.jobs.explain import ExplainRecipe, explain
from lmscope.jobs.trace import TraceRecipe, trace
from lmscope.jobs.trace_labels import features_of, read_labels
from lmscope.jobs.trace_record import load_graph, read_report


@pytest.fixture(scope="module")
def built(trained, tmp_path_factory):
    """A run with an atlas, in whose folder an explain run lies that shows every label."""
    root = tmp_path_factory.mktemp("labelled")
    census = {"tokens": 3000, "batch_tokens": 256, "calibration_tokens": 512}
    options = {"n_top": 8, "n_each": 3, "stretch": 8, "n_silent": 16}
    values = {"dictionary": str(trained.path), "census": census, "options": options}
    run = build_atlas(AtlasRecipe.from_mapping(values), root=root)
    asked = {"atlas": str(run.path), "n_controls": 4, "threshold": 0.0, "latents": list(range(24))}
    explain(ExplainRecipe.from_mapping(asked), root=root)
    return run


def recipe(source, *labels):
    return TraceRecipe.from_mapping(
        {
            "dictionaries": {"sources": [str(source)], "calibration_tokens": 0},
            "prompts": {"texts": ["etaoin shrdlu"]},
            "trace": {"threshold": 0.0},
            "labels": list(labels),
        }
    )


def test_features_get_the_labels_that_their_atlas_shows(trained, built, tmp_path):
    run = trace(recipe(trained.path, str(built.path)), root=tmp_path)
    labels = read_labels(run)
    assert labels
    assert all(labels.values())
    (row,) = read_report(run).traces
    features = set(features_of(load_graph(run, row.name)).values())
    assert labels.keys() <= features
    assert all(isinstance(one, FeatureId) and one.latent < 24 for one in labels)


def test_an_atlas_of_another_dictionary_is_refused(trained, built, tmp_path):
    (folder,) = (trained.artifacts / "dictionaries").iterdir()
    other = Dictionary.load(folder)
    other.b_enc.data += 0.5
    other.save(tmp_path / "other")
    with pytest.raises(ArtifactError, match="which is not in this circuit"):
        trace(recipe(tmp_path / "other", str(built.path)), root=tmp_path / "runs")


def test_a_trace_without_atlases_has_no_labels(trained, tmp_path):
    assert read_labels(trace(recipe(trained.path), root=tmp_path)) == {}


def test_a_run_that_holds_atlases_too_says_what_its_features_mean(trained, built, tmp_path):
    both = shutil.copytree(trained.path, built.path.parent / "both")  # labels lie beside it
    for name in ("atlas", "corpus"):
        shutil.copytree(built.artifacts / name, both / "artifacts" / name)
    run = trace(recipe(both), root=tmp_path)
    asked_for = trace(recipe(trained.path, str(built.path)), root=tmp_path)
    assert read_labels(run) == read_labels(asked_for) != {}
