"""`build_atlas` from a small trained run: what it leaves, how it is stopped and resumed, wrong input."""

import json

import numpy as np
import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.store import CensusReader, read_vectors
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.atlas import AtlasRecipe, build_atlas, plan_atlas
from lmscope.jobs.atlas_probe import probe_text
from lmscope.jobs.running import Silent
from lmscope.jobs.train import train
from lmscope.models.language_model import LanguageModel
from lmscope.runs.artifact import read_manifest
from lmscope.runs.run import Run

SITE = Site.parse("resid_post@1")
SMALL = {
    "census": {"tokens": 2000, "batch_tokens": 128, "shard_tokens": 512, "calibration_tokens": 512},
    "options": {"n_top": 4, "n_each": 2, "stretch": 8, "n_silent": 4, "n_tokens": 5},
}


@pytest.fixture(scope="session")
def several(recipe, tmp_path_factory) -> Run:
    """A run of two dictionaries, at two sites."""
    root = tmp_path_factory.mktemp("several")
    return train(recipe(**{"dictionary.sites": ["resid_post@1", "mlp_out@1"]}), root=root)


@pytest.fixture(scope="session")
def atlas_recipe(several):
    def atlas_recipe(**changes) -> AtlasRecipe:
        return AtlasRecipe.from_mapping({"dictionary": str(several.path), **SMALL, **changes})

    return atlas_recipe


@pytest.fixture(scope="session")
def whole(atlas_recipe, tmp_path_factory) -> Run:
    """Its atlases, built without a stop."""
    return build_atlas(atlas_recipe(), root=tmp_path_factory.mktemp("whole"))


def atlases(run: Run) -> dict[str, bytes]:
    """Every byte of the artifacts of a run."""
    files = sorted(path for path in run.artifacts.rglob("*") if path.is_file())
    return {str(path.relative_to(run.artifacts)): path.read_bytes() for path in files}


def test_a_run_gets_one_corpus_and_an_atlas_of_each_dictionary(whole, several):
    (corpus_folder,) = (whole.artifacts / "corpus").iterdir()
    corpus = FrozenCorpus.load(corpus_folder, verify=True)
    assert corpus_folder.name == corpus.digest
    assert corpus.n_contexts == 2000 // 32
    folders = sorted((whole.artifacts / "atlas").iterdir())
    trained = sorted((several.artifacts / "dictionaries").iterdir())
    assert [path.name for path in folders] == [path.name for path in trained]
    for folder, path in zip(folders, trained, strict=True):
        read_manifest(folder, "atlas", [1], verify=True)
        dictionary = Dictionary.load(path)
        vectors = read_vectors(folder / "vectors.safetensors")
        np.testing.assert_allclose(vectors, dictionary.W_dec.numpy(), atol=1e-3)
        with CensusReader(folder / "census.sqlite") as reader:
            meta = reader.meta
            found = list(reader.records())
        assert meta.corpus_digest == corpus.digest
        assert meta.dictionary_digest == read_manifest(path, "dictionary", [1]).content_digest
        assert meta.weights_hash == dictionary.config.model_hash
        assert meta.tokenizer_hash == corpus.config.tokenizer_hash
        assert 0 < meta.n_counted < corpus.config.n_tokens
        assert [record.latent for record in found] == list(range(64))
        assert sum(record.n_fired for record in found) <= 4 * meta.n_counted
        assert sum(record.n_fired for record in found) > 3 * meta.n_counted
        alive = next(record for record in found if not record.is_dead)
        assert alive.top_logits
        assert alive.neighbours


NAME = "resid_post-1-64-topk-4"


def test_what_fires_on_a_text_is_what_the_dictionary_says(whole, several):
    text = "no doubt she lied."
    with Atlas.open(whole.path, name=NAME) as atlas:
        assert atlas.meta.median_norms.keys() == {"resid_post@1"}
        found = probe_text(atlas, text, Silent())
    model = LanguageModel.load(several.recipe_values["model"]["name"], device="cpu")
    dictionary = Dictionary.load(several.artifacts / "dictionaries" / NAME)
    latents = dictionary.encode(model.read(model.batch(text), ["resid_post@1"])[SITE][0].float())
    latents[0] = 0.0  # BOS does not count
    best = int(latents.amax(0).argmax())
    assert found.ranked(1)[0].latent == best
    assert found.ranked(1)[0].max == pytest.approx(float(latents.max()), rel=1e-4)


def test_another_dictionary_than_the_atlass_is_refused(whole, several):
    other = several.artifacts / "dictionaries" / "mlp_out-1-64-topk-4"
    with (
        Atlas.open(whole.path, name=NAME) as atlas,
        pytest.raises(ArtifactError, match="is of dictionary"),
    ):
        probe_text(atlas, "no doubt.", Silent(), dictionary=other)


def test_nothing_but_artifacts_and_the_runs_own_files_is_left(whole):
    assert whole.status == "done"
    names = {path.name for path in whole.path.iterdir()}
    assert "census" not in names
    results = whole.results()
    assert results["census"]["n_tokens"] > 1900
    assert results["resid_post-1-64-topk-4"]["n_latents"] == 64


def test_one_dictionary_of_a_run_can_be_chosen(atlas_recipe, whole, tmp_path):
    name = "mlp_out-1-64-topk-4"
    run = build_atlas(atlas_recipe(only=[name]), root=tmp_path)
    assert [path.name for path in (run.artifacts / "atlas").iterdir()] == [name]
    # Norms are measured at each site by itself, so together equals alone.
    ours, theirs = atlases(run), atlases(whole)
    assert ours == {path: theirs[path] for path in ours}


def test_the_folder_of_a_dictionary_is_enough(several, shelf, tmp_path):
    path = several.artifacts / "dictionaries" / "mlp_out-1-64-topk-4"
    text = {"source": str(shelf / "other.jsonl"), "context_length": 16, "documents": "held_out"}
    recipe = AtlasRecipe.from_mapping(
        {
            "dictionary": str(path),
            "model": {"name": str(shelf / "model"), "device": "cpu"},
            "text": text,
            **SMALL,
        }
    )
    run = build_atlas(recipe, root=tmp_path)
    (folder,) = (run.artifacts / "corpus").iterdir()
    corpus = FrozenCorpus.load(folder)
    assert corpus.context_length == 16
    assert 0 < corpus.n_contexts < 2000 // 16  # a tenth of the documents


class StopAfter:
    """Asks the run to stop when a phase has made so much progress."""

    def __init__(self, phase, n):
        self.phase, self.n = phase, n

    def on_event(self, event, fields):
        if event == "phase" and fields.get("phase") == self.phase:
            self._count()

    def on_metrics(self, step, metrics):
        pass

    def on_progress(self, phase, done, total, fields):
        if phase == self.phase:
            self._count()

    def _count(self):
        import signal

        self.n -= 1
        if self.n == 0:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("phase", "n"), [("text", 1), ("calibrate", 1), ("census", 2), ("similar", 2), ("records", 1)]
)
def test_a_stopped_census_goes_on_and_ends_in_equal_bytes(
    atlas_recipe, whole, tmp_path, monkeypatch, phase, n
):
    monkeypatch.setattr("lmscope.atlas.building.BLOCK_LATENTS", 20)
    with pytest.raises(KeyboardInterrupt):
        build_atlas(atlas_recipe(), root=tmp_path, listeners=[StopAfter(phase, n)])
    (folder,) = tmp_path.iterdir()
    assert Run.open(folder).status == "interrupted"
    again = build_atlas(atlas_recipe(), root=tmp_path, resume=folder)
    assert again.status == "done"
    assert atlases(again) == atlases(whole)


def test_what_was_spilled_and_written_is_not_done_again(atlas_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("lmscope.atlas.building.BLOCK_LATENTS", 20)
    with pytest.raises(KeyboardInterrupt):
        build_atlas(atlas_recipe(), root=tmp_path, listeners=[StopAfter("records", 2)])
    (folder,) = tmp_path.iterdir()
    run = build_atlas(atlas_recipe(), root=tmp_path, resume=folder)
    after = run.events()
    after = after[[event["event"] for event in after].index("resumed") :]
    assert "census" not in [event.get("name") for event in after]
    assert "text" not in [event.get("phase") for event in after]
    assert "calibrate" not in [event.get("phase") for event in after]


def test_other_weights_are_named(several, shelf, tmp_path):
    recipe = AtlasRecipe.from_mapping(
        {
            "dictionary": str(several.path),
            "model": {"name": str(shelf / "tuned")},
            "only": ["mlp_out-1-64-topk-4"],
            **SMALL,
        }
    )
    run = build_atlas(recipe, root=tmp_path)
    (notice,) = (event["message"] for event in run.events() if event["event"] == "notice")
    assert "was trained on" in notice
    assert "this atlas is of" in notice


def test_a_dictionary_that_is_not_there_is_named_with_near_ones(atlas_recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"no dictionary 'mlp_out-1'.* Did you mean mlp_out-1-64"):
        build_atlas(atlas_recipe(only=["mlp_out-1"]), root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_plan_says_what_would_be_read(atlas_recipe):
    values = plan_atlas(atlas_recipe()).to_mapping()
    assert values["tokens"] == 2000
    assert values["temporary_bytes"] == 2000 * 8 * 8
    assert values["context_length"] == 32
    assert json.dumps(values)
