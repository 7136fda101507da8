"""A packed atlas is one file that answers as the atlas it was packed from."""

import json
import shutil
import sqlite3

import numpy as np
import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.codec import same_record
from lmscope.atlas.pack import pack
from lmscope.atlas.packed import PackedText
from lmscope.atlas.text import CorpusText
from lmscope.core.errors import ArtifactError


@pytest.fixture
def packed(atlas_run, tmp_path):
    with Atlas.open(atlas_run) as atlas:
        return pack(atlas, tmp_path / "made.atlas")


def test_it_answers_as_the_atlas_does_with_nothing_beside_it(packed, atlas_run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(packed, tmp_path / "elsewhere")
    with Atlas.open(atlas_run) as atlas, Atlas.open(moved) as other:
        assert other.meta == atlas.meta
        assert other.digest == atlas.digest
        for latent in range(6):
            assert same_record(other.record(latent), atlas.record(latent))
            own, found = atlas[latent].to_mapping(), other[latent].to_mapping()
            assert json.dumps(own) == json.dumps(found)
        np.testing.assert_array_equal(other.vectors, atlas.vectors)
        assert other.search("rivers").latents == atlas.search("rivers").latents
        assert other.nearest(1).latents == atlas.nearest(1).latents
        assert other.filter(known=True) == atlas.filter(known=True)
        query = "SELECT latent, text, shown(latent) FROM labels.label"
        assert other.sql(query) == atlas.sql(query)
        assert other.notes is None


def test_it_holds_the_text_of_its_records_and_no_more(packed, atlas_run):
    with Atlas.open(atlas_run) as atlas, Atlas.open(packed) as other:
        assert isinstance(other.corpus, CorpusText)
        needed = {
            start // 20
            for record in atlas.records()
            for start in (*(e.start for g in record.groups for e in g.examples), *record.silent)
        }
        assert needed != set(range(atlas.meta.n_contexts))
        for context in range(atlas.meta.n_contexts):
            first = context * 20
            if context in needed:
                np.testing.assert_array_equal(
                    other.corpus.tokens(first, 20), atlas.corpus.tokens(first, 20)
                )
                for position in range(first, first + 20):
                    assert other.corpus.document(position) == atlas.corpus.document(position)
            else:
                with pytest.raises(ArtifactError, match="only the text that its records"):
                    other.corpus.tokens(first, 1)
                assert other.corpus.document(first) is None
        with pytest.raises(ArtifactError, match="does not hold token 399"):
            other.corpus.token_bytes(399)


def test_equal_atlases_give_equal_packs(packed, atlas_run, tmp_path):
    with Atlas.open(atlas_run) as atlas:
        again = pack(atlas, tmp_path / "again.atlas")
    assert again.read_bytes() == packed.read_bytes()


def test_a_pack_is_packed_again_alike(packed, tmp_path):
    with (
        Atlas.open(packed) as atlas,
        pytest.raises(ArtifactError, match="is packed already: copy the file"),
    ):
        pack(atlas, tmp_path / "again.atlas")


def test_nothing_is_overwritten_and_the_ending_is_fixed(packed, atlas_run, tmp_path):
    before = packed.read_bytes()
    with Atlas.open(atlas_run) as atlas:
        with pytest.raises(ArtifactError, match="exists already"):
            pack(atlas, packed)
        with pytest.raises(ArtifactError, match=r"ends in \.atlas"):
            pack(atlas, tmp_path / "made.zip")
    assert packed.read_bytes() == before
    assert not list(tmp_path.glob(".made*"))


def test_without_labels_there_are_none(atlas_run, tmp_path):
    with Atlas.open(atlas_run, labels=[]) as atlas:
        pack(atlas, tmp_path / "bare.atlas")
    with Atlas.open(tmp_path / "bare.atlas") as bare:
        assert bare.labels == ()
        assert bare[0].label == ""


def test_damage_is_named(packed):
    connection = sqlite3.connect(packed)
    connection.execute("UPDATE corpus_chunk SET tokens = x'00ff'")
    connection.commit()
    connection.close()
    with Atlas.open(packed) as atlas:
        text = PackedText(packed, atlas.meta)
        with pytest.raises(ArtifactError, match="is damaged"):
            text.tokens(atlas.record(0).silent[0], 4)
        text.close()
    with pytest.raises(ArtifactError, match="packed with its corpus"):
        Atlas.open(packed, corpus=packed.parent)
