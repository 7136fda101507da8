"""An atlas is opened with its text and labels, queried, and shown without anything to load."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.codec import RecordCodec, same_record
from lmscope.atlas.columns import ORDERS
from lmscope.atlas.explain.protocols import NOT_KNOWN
from lmscope.atlas.record import Example
from lmscope.core.errors import ArtifactError, BudgetError, RecipeError


@pytest.fixture
def atlas(atlas_run):
    with Atlas.open(atlas_run) as atlas:
        yield atlas


def test_a_run_a_folder_and_a_census_open_the_same_atlas(atlas_run, made_record):
    folder = atlas_run / "artifacts" / "atlas" / "made"
    for path in (atlas_run, folder, folder / "census.sqlite"):
        with Atlas.open(path) as atlas:
            assert len(atlas) == 6
            assert same_record(atlas.record(2), RecordCodec.rounded(made_record(2)))
            assert [one.latent for one in atlas.records()] == list(range(6))
            assert atlas[0].label == "names of rivers"


def test_a_label_below_its_threshold_reads_not_known_everywhere(atlas):
    shown = [atlas[latent].label for latent in range(4)]
    assert shown == ["names of rivers", NOT_KNOWN, "", "<b>bold</b>"]
    guess = atlas[1]
    everywhere = [
        json.dumps(guess.to_mapping()),
        guess._repr_html_(),
        repr(guess),
        repr(atlas.filter()[1]),
        atlas._repr_html_(),
        repr(atlas.sql("SELECT shown(id) FROM latent")),
    ]
    assert not any("guess" in text for text in everywhere)
    assert atlas.search("rivers").latents == (0,)


def test_a_newer_label_takes_the_place_of_an_older_one(atlas_run, labelled):
    labelled(atlas_run, "20260103-000000-explain", {0: ("lakes", 0.6), 2: ("towns", 0.9)})
    with Atlas.open(atlas_run) as atlas:
        assert [atlas[latent].label for latent in (0, 2, 3)] == [NOT_KNOWN, "towns", "<b>bold</b>"]
        assert atlas.search("rivers").latents == ()
        assert atlas.search("towns").latents == (2,)
        assert atlas.filter(known=True).latents == (2, 3)
        older = atlas.sql("SELECT text FROM labels2.label WHERE latent = 0").rows
        assert older == (("names of rivers",),)
    older = atlas_run.parent / "20260102-000000-explain"
    with Atlas.open(atlas_run, labels=[older]) as atlas:
        assert atlas[0].label == "names of rivers"
    with Atlas.open(atlas_run, labels=[]) as atlas:
        assert atlas[0].label == ""
        with pytest.raises(RecipeError, match="no labels to search"):
            atlas.search("rivers")


def test_damaged_labels_beside_it_are_named_and_do_not_hide_the_atlas(atlas_run, labelled):
    place = labelled(atlas_run, "20260103-000000-explain", {0: ("lakes", 0.9)})
    (place / "labels.sqlite").write_bytes(b"")
    with Atlas.open(atlas_run) as atlas:
        (problem,) = atlas.problems
        assert "20260103" in problem
        assert "damaged" in problem
        assert atlas[0].label == "names of rivers"
    with pytest.raises(ArtifactError, match="damaged"):
        Atlas.open(atlas_run, labels=[place])


def test_labels_of_another_atlas_are_refused(atlas_run, tmp_path):
    from lmscope.atlas.labels import LabelsMeta, LabelWriter
    from lmscope.runs.artifact import write_artifact

    meta = LabelsMeta(atlas_digest="e" * 64, dictionary_digest="d" * 64, explainer="x", threshold=0)
    with (
        LabelWriter(tmp_path / "w.sqlite", meta) as writer,
        write_artifact(tmp_path / "other", "labels", 1) as folder,
    ):
        writer.seal(folder / "labels.sqlite")
    with pytest.raises(ArtifactError, match="are of atlas eeeeeeeeeeee, this one is"):
        Atlas.open(atlas_run, labels=[tmp_path / "other"])


def test_strips_hold_the_text_with_its_activations(atlas):
    feature = atlas[0]
    example = feature.record.groups[0].examples[0]
    strip = feature.strips()[0]
    tokens = atlas.corpus.tokens(example.start, example.length).tolist()
    text = b"".join(atlas.corpus.token_bytes(token) for token in tokens).decode()
    assert "".join(strip.tokens) == text
    assert strip.values == tuple(example.activations().tolist())
    assert strip.full == feature.record.max
    assert len(feature.strips()) == len(feature.record.groups[0].examples)


class Split:
    """A corpus in which one character takes three tokens."""

    digest, context_length, n_contexts = "c" * 64, 4, 1

    def tokens(self, start, length):
        return np.arange(start, start + length, dtype=np.int32)

    def token_bytes(self, token):
        return [b"a", "城".encode()[:1], "城".encode()[1:2], "城".encode()[2:]][token]

    def document(self, start):
        return None


def test_tokens_that_share_a_character_are_one_cell(atlas):
    feature = replace(atlas[0], corpus=Split())
    values = np.asarray([3.0, 1.0], np.float32)
    strip = feature.strip(Example(0, 4, 1, np.asarray([1, 3], np.int32), values))
    assert strip.tokens == ("a", "城")
    assert strip.values == (0.0, 3.0)


class Loads(HTMLParser):
    """Notes what a page would load or run."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.found += [
            (tag, name) for name, _ in attrs if name in ("src", "href") or name.startswith("on")
        ]


def test_html_is_static_and_hostile_text_is_escaped(atlas):
    for shown in (atlas[3], atlas[0], atlas, atlas.filter(), atlas[0].logits()):
        html, page = shown._repr_html_(), Loads()
        page.feed(html)
        assert page.found == []
        assert not page.tags & {"script", "link", "img", "iframe", "b"}
    assert "&lt;b&gt;bold" in atlas[3]._repr_html_()


def test_a_feature_as_json_holds_texts_and_plain_numbers(atlas, made_record):
    values = json.loads(json.dumps(atlas[0].to_mapping(), allow_nan=False))
    assert values["feature"] == "resid_post-1-6-topk-2/0"
    assert values["known"]
    assert values["scores"][0]["low"] == 0.9
    example, record = values["groups"][0]["examples"][0], made_record(0)
    first = record.groups[0].examples[0]
    assert (example["context"], example["position"]) == divmod(first.start, 20)
    assert len(example["tokens"]) == len(example["values"]) == first.length
    assert example["document"]["licence"] == "CC0"
    assert sum(values["histogram"]["counts"]) == sum(record.histogram)
    assert (
        values["top_logits"][0]["text"] == f"<unused {record.top_logits[0].id}>"
        or values["top_logits"][0]["text"]
    )


def test_nearest_is_by_cosine(atlas):
    rows = atlas.vectors.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit[2]
    wanted = [i for i in np.argsort(-cosines) if i != 2][:3]
    found = atlas.nearest(2, 3)
    assert list(found.latents) == wanted
    np.testing.assert_allclose(found.values, cosines[wanted], rtol=1e-4)
    assert atlas.nearest(atlas.vector(2), 1).latents == (2,)
    assert len(atlas.nearest(2, 100)) == 5
    with pytest.raises(RecipeError, match="width 4"):
        atlas.nearest(np.ones(3, np.float32))
    with pytest.raises(ArtifactError, match="from 0 to 5"):
        atlas.vector(6)


def test_latents_are_found_by_token(atlas, made_record):
    # Latent 3 fires most on tokens 30, 31 and 32: 9, 8 and 7 times.
    assert atlas.on_token(31).latents == (3,)
    assert atlas.on_token(31).values == (8,)
    text = atlas.corpus.token_bytes(31).decode()
    assert 3 in atlas.on_token(text).latents
    with pytest.raises(RecipeError, match="No latent fires most on a token 'zzz'"):
        atlas.on_token("zzz")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sign", ["", "-"])
def test_filters_and_orders_equal_those_in_python(atlas, made_record, order, sign):
    records = [RecordCodec.rounded(made_record(latent)) for latent in range(6)]
    detections = {0: 0.95, 1: 0.55, 3: 0.85}
    kept = [one for one in records if 0.02 <= one.density <= 0.15]

    def key(one):
        value = detections.get(one.latent) if order == "detection" else getattr(one, order)
        missing = value is None
        return (missing, 0 if missing else -value if sign else value, one.latent)

    found = atlas.filter(min_density=0.02, max_density=0.15, order=sign + order)
    assert list(found.latents) == [one.latent for one in sorted(kept, key=key)]
    assert len(kept) not in (0, 6)


def test_flags_filter_and_a_wrong_order_is_named(atlas, made_record):
    dense = tuple(i for i in range(6) if made_record(i).density > 0.1)
    assert atlas.filter(dense=True).latents == dense
    assert atlas.filter(dead=True).latents == ()
    assert len(atlas.filter(dead=False, limit=2)) == 2
    assert atlas.filter(known=True).latents == (0, 3)
    assert atlas.filter(known=False).latents == (1, 2, 4, 5)
    with pytest.raises(RecipeError, match=r"no order 'densty'\. Did you mean density"):
        atlas.filter(order="-densty")


def test_sql_reads(atlas):
    result = atlas.sql(
        "SELECT id, shown(id) AS label, detection(id), blob FROM latent JOIN labels.label "
        "ON latent = id WHERE is_known(id) ORDER BY id"
    )
    assert result.columns == ("id", "label", "detection(id)", "blob")
    assert [row[:3] for row in result.rows] == [
        (0, "names of rivers", pytest.approx(0.95)),
        (3, "<b>bold</b>", pytest.approx(0.85)),
    ]
    assert result.rows[0][3].endswith("bytes")
    assert not result.is_cut
    cut = atlas.sql("SELECT id FROM latent", limit=2)
    assert cut.is_cut
    assert "there are more" in cut.table().caption


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM latent",
        "UPDATE latent SET density = 0",
        "ATTACH '/etc/passwd' AS other",
        "PRAGMA query_only = OFF",
        "CREATE TEMP TABLE x (y)",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        "",
    ],
)
def test_sql_does_nothing_but_read(atlas, query):
    with pytest.raises(RecipeError, match=r"only read|cannot be run|no columns"):
        atlas.sql(query)
    assert len(atlas.filter()) == 6


def test_sql_ends_in_time(atlas):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    with pytest.raises(BudgetError, match=r"longer than 0.05 s"):
        atlas.sql(endless, timeout_s=0.05)


def test_notes_come_with_the_feature(atlas):
    digest = atlas.meta.dictionary_digest
    assert atlas[0].note is None
    atlas.notes.write(digest, 0, "look <again>")
    atlas.notes.tag(digest, 0, "rivers")
    assert atlas[0].note.text == "look <again>"
    assert atlas[0].to_mapping()["note"] == {
        "text": "look <again>",
        "star": False,
        "tags": ["rivers"],
    }
    assert "look &lt;again&gt;" in atlas[0]._repr_html_()


def test_several_atlases_need_a_name(atlas_run):
    folder = atlas_run / "artifacts" / "atlas"
    shutil.copytree(folder / "made", folder / "other")
    with pytest.raises(ArtifactError, match=r"several atlases \(made, other\): name one"):
        Atlas.open(atlas_run)
    with pytest.raises(ArtifactError, match=r"no atlas 'mad'\. Did you mean made"):
        Atlas.open(atlas_run, name="mad")
    Atlas.open(atlas_run, name="other").close()
    with pytest.raises(ArtifactError, match="the name 'made' has no effect"):
        Atlas.open(folder / "made", name="made")


def test_what_is_missing_is_said(atlas_run, tmp_path):
    with pytest.raises(ArtifactError, match="nothing is there"):
        Atlas.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="has no atlas: make one"):
        Atlas.open(tmp_path / "empty")
    (corpus,) = (atlas_run / "artifacts" / "corpus").iterdir()
    moved = corpus.rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="copy the whole run, or say where"):
        Atlas.open(atlas_run)
    Atlas.open(atlas_run, corpus=moved).close()


def test_another_corpus_is_refused(atlas_run, tmp_path):
    from lmscope.atlas.corpus import FrozenCorpus
    from lmscope.models.miniature import character_tokenizer
    from lmscope.text.corpus import Corpus
    from lmscope.text.document import Document

    documents = [Document("a", "another text altogether", "A", "here", "CC0", "a")]
    contexts = Corpus.from_documents(documents).contexts(character_tokenizer(), 20, bos_id=1)
    other = FrozenCorpus.freeze(tmp_path / "other", contexts, character_tokenizer())
    with pytest.raises(ArtifactError, match=f"is corpus {other.digest[:12]}, the atlas was made"):
        Atlas.open(atlas_run, corpus=other.path)


def test_another_dictionary_or_tokenizer_does_not_fit(atlas):
    atlas.check_fits(dictionary_digest="d" * 64, tokenizer_hash=atlas.meta.tokenizer_hash)
    with pytest.raises(ArtifactError, match="is of dictionary dddddddddddd, not of eeee"):
        atlas.check_fits(dictionary_digest="e" * 64)
    with pytest.raises(ArtifactError, match="is of tokenizer"):
        atlas.check_fits(tokenizer_hash="e" * 32)


def test_an_atlas_without_vectors_says_so(atlas_run):
    from lmscope.runs.artifact import write_artifact

    folder = atlas_run / "artifacts" / "atlas"
    with write_artifact(folder / "bare", "atlas", 1) as bare:
        shutil.copy(folder / "made" / "census.sqlite", bare)
    with Atlas.open(folder / "bare") as atlas:
        assert atlas.vectors is None
        with pytest.raises(ArtifactError, match="has no vectors"):
            atlas.nearest(0)


def test_pages_of_a_list_follow_each_other(atlas):
    for order in ("latent", "-max", "detection"):
        whole = atlas.filter(order=order).latents
        pages = [atlas.filter(order=order, offset=i, limit=2).latents for i in (0, 2, 4, 6)]
        assert sum(pages, ()) == whole
        assert pages[-1] == ()
    assert atlas.densities.tolist() == sorted(one.density for one in atlas.records())


def test_all_sources_say_what_they_say_of_a_latent(atlas_run, labelled):
    labelled(atlas_run, "20260103-000000-explain", {0: ("lakes", 0.6)})
    with Atlas.open(atlas_run) as atlas:
        found = [(said.label.text, said.known) for _, said in atlas.said(0)]
    assert found == [("lakes", False), ("names of rivers", True)]


def test_cosines_are_those_of_the_decoder_rows(atlas):
    rows = atlas.vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = atlas.cosines(2)
    assert found[2] == -np.inf
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(found[others], (rows @ rows[2])[others], atol=1e-6)
    assert atlas.nearest(2, n=10).latents == tuple(sorted(others, key=lambda i: -found[i]))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
