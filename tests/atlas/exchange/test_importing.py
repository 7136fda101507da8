"""Exports of an atlas on disk, and the atlases that come of them."""

import gzip
import json
import shutil
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.codec import RecordCodec, same_record, scalars_of
from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.exchange.content import content_of
from lmscope.atlas.exchange.importing import import_atlas
from lmscope.atlas.exchange.neuronpedia import write_neuronpedia
from lmscope.atlas.exchange.neuronpedia_lint import lint_export
from lmscope.atlas.exchange.neuronpedia_rows import NeuronpediaOptions
from lmscope.atlas.exchange.parquet import write_parquet
from lmscope.atlas.sources import LabelSources
from lmscope.core.errors import ArtifactError, RecipeError

OPTIONS = NeuronpediaOptions(source_set="res-6")


class Quiet:
    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        pass

    def on_progress(self, phase, done, total, fields):
        pass


@pytest.fixture
def meta():
    sites = {"reads": ["resid_post@1"], "writes": ["resid_post@1"]}
    return AtlasMeta(
        dictionary="resid_post-1-6-topk-2",
        dictionary_digest="d" * 64,
        dictionary_config={"n_latents": 6, "d_write": 4, **sites},
        model="miniature",
        weights_hash="w" * 64,
        tokenizer_hash="t" * 32,
        corpus_digest="c" * 64,
        context_length=20,
        n_contexts=40,
        n_counted=760,
        n_latents=6,
        options=CensusOptions(n_top=3, n_each=2, n_intervals=2, stretch=8, n_silent=4),
    )


@pytest.fixture
def atlas(atlas_run):
    with Atlas.open(atlas_run) as found:
        yield found


def said(atlas, latent):
    return LabelSources(atlas.labels).said(latent)


def test_parquet_brings_the_atlas_back_byte_by_byte(atlas, tmp_path):
    write_parquet(content_of(atlas), tmp_path / "a.parquet")
    done = import_atlas(tmp_path / "a.parquet", tmp_path / "new", Quiet(), corpus=atlas.corpus.path)
    assert (done.format, done.n_labels, done.has_vectors, done.has_corpus) == (
        "parquet",
        3,
        True,
        True,
    )
    for name in ("census.sqlite", "vectors.safetensors"):
        assert (done.path / name).read_bytes() == (atlas.path / name).read_bytes()
    again = Atlas.open(tmp_path / "new")
    with again:
        assert again.digest == atlas.digest
        assert again.feature(0).label == "names of rivers"
        assert [said(again, i) for i in range(6)] == [said(atlas, i) for i in range(6)]


def test_a_record_that_was_read_back_is_written_with_equal_bytes(made_record):
    # The largest activation, just below 32, rounds up to 32, which has another power of two.
    record = made_record(1, scale=1.0)
    group = record.groups[0]
    values = np.full_like(group.examples[0].values, 31.999)
    first = replace(group.examples[0], values=values)
    groups = (
        replace(group, high=31.999, examples=(first, *group.examples[1:])),
        *record.groups[1:],
    )
    codec = RecordCodec(20, 8)
    record = replace(record, groups=groups)
    blob = codec.encode(record)
    assert codec.encode(codec.decode(scalars_of(record), blob)) == blob


def close(a, b, step):
    """Whether two values are equal, and their decimal numbers by at most a step."""
    if is_dataclass(a):
        return all(close(getattr(a, f.name), getattr(b, f.name), step) for f in fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(close(x, y, step) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and a.dtype == np.float32:
        return a.shape == b.shape and bool((np.abs(a - b) <= step).all())
    if isinstance(a, float):
        return abs(a - b) <= step
    return np.array_equal(a, b)


def test_neuronpedia_brings_the_atlas_back_to_four_decimals(atlas, tmp_path):
    place = write_neuronpedia(content_of(atlas), tmp_path / "out", OPTIONS)
    assert lint_export(place) == []
    done = import_atlas(tmp_path / "out", tmp_path / "new", Quiet(), corpus=atlas.corpus.path)
    assert (done.format, done.n_labels, done.has_vectors) == ("neuronpedia", 2, True)
    with Atlas.open(tmp_path / "new") as again:
        for before, after in zip(atlas.records(), again.records(), strict=True):
            # One step of the format, and one of float16 between 0.5 and 1.
            assert close(before, after, 1e-4 + 2**-11)
            assert not same_record(before, after)
        assert again.meta == atlas.meta
        np.testing.assert_allclose(again.vectors, atlas.vectors, atol=1e-4 + 2**-10)
        assert again.feature(0).label == "names of rivers"
        assert said(again, 0) == said(atlas, 0)
        # A label that scores too low is not sent to others, so it cannot come back.
        assert said(again, 1) == (None, (), False)


def test_without_its_corpus_an_atlas_can_be_imported_and_opened_with_it(atlas, tmp_path):
    write_parquet(content_of(atlas), tmp_path / "a.parquet", vectors=False)
    done = import_atlas(tmp_path / "a.parquet", tmp_path / "new", Quiet())
    assert (done.has_corpus, done.has_vectors) == (False, False)
    with Atlas.open(tmp_path / "new", corpus=atlas.corpus.path) as again:
        assert again.vectors is None
        assert same_record(again.record(3), atlas.record(3))


def test_a_run_can_be_named_for_its_corpus(atlas, atlas_run, tmp_path):
    write_parquet(content_of(atlas), tmp_path / "a.parquet")
    import_atlas(tmp_path / "a.parquet", tmp_path / "new", Quiet(), corpus=atlas_run)
    assert (tmp_path / "new/artifacts/corpus" / atlas.corpus.digest / "tokens.npy").is_file()


def test_some_latents_alone_are_no_atlas(atlas, tmp_path):
    write_parquet(content_of(atlas, [1, 4]), tmp_path / "a.parquet")
    with pytest.raises(ArtifactError, match="holds 2 of 6 latents"):
        import_atlas(tmp_path / "a.parquet", tmp_path / "new", Quiet())
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_another_corpus_is_refused_before_anything_is_written(atlas, tmp_path, atlas_run):
    write_parquet(content_of(atlas), tmp_path / "a.parquet")
    other = tmp_path / "other"
    shutil.copytree(atlas_run / "artifacts/atlas/made", other)
    with pytest.raises(ArtifactError, match="holds no corpus, its kind is 'atlas'"):
        import_atlas(tmp_path / "a.parquet", tmp_path / "new", Quiet(), corpus=other)
    assert not (tmp_path / "new").exists()


def test_files_of_others_and_nothing_at_all_are_refused(atlas, tmp_path):
    place = write_neuronpedia(content_of(atlas), tmp_path / "out", OPTIONS)
    shutil.rmtree(place / "lmscope")
    with pytest.raises(ArtifactError, match="those of others lack positions"):
        import_atlas(tmp_path / "out", tmp_path / "new", Quiet())
    with pytest.raises(ArtifactError, match="There is nothing at"):
        import_atlas(tmp_path / "none", tmp_path / "new", Quiet())
    with pytest.raises(ArtifactError, match="exists already"):
        import_atlas(tmp_path / "out", tmp_path / "out", Quiet())


@pytest.mark.parametrize("damage", ["cut", "missing", "line", "example"])
def test_damaged_neuronpedia_files_say_what_to_do(atlas, tmp_path, damage):
    place = write_neuronpedia(content_of(atlas), tmp_path / "out", OPTIONS)
    path = place / "activations/batch-0.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif damage == "missing":
        (place / "features/batch-0.jsonl.gz").unlink()
    elif damage == "line":
        path.write_bytes(gzip.compress(b"\n".join([b"{", *lines[1:]])))
    else:
        path.write_bytes(gzip.compress(b"\n".join(lines[1:])))
    with pytest.raises(ArtifactError, match="damaged or incomplete"):
        import_atlas(tmp_path / "out", tmp_path / "new", Quiet())
    assert not (tmp_path / "new").exists()


def test_a_newer_format_asks_for_a_newer_lmscope(atlas, tmp_path):
    place = write_neuronpedia(content_of(atlas), tmp_path / "out", OPTIONS)
    own = place / "lmscope/atlas.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"format_version": 9}))
    with pytest.raises(ArtifactError, match="format 9, this lmscope reads up to 1: upgrade"):
        import_atlas(tmp_path / "out", tmp_path / "new", Quiet())


def test_content_can_be_chosen(atlas):
    chosen = content_of(atlas, [4, 1, 4])
    assert [entry.record.latent for entry in chosen.checked()] == [1, 4]
    known = content_of(atlas, known_only=True)
    assert [(e.record.latent, e.shown) for e in known.checked()] == [
        (0, "names of rivers"),
        (3, "<b>bold</b>"),
    ]
    assert [e.shown for e in content_of(atlas, [1, 2]).checked()] == ["not known", ""]
    with pytest.raises(RecipeError, match="There is no latent 6: the atlas has 6"):
        content_of(atlas, [0, 6])
    with pytest.raises(RecipeError, match="none of them has a label"):
        content_of(atlas, [2], known_only=True)
