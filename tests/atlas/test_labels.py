"""Labels are kept with their scores, found by their words, and hidden when they are guesses."""

import pytest

from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.atlas.labels import LabelReader, LabelsMeta, LabelWriter
from lmscope.core.errors import ArtifactError, RecipeError

META = LabelsMeta(
    atlas_digest="a" * 64, dictionary_digest="d" * 64, explainer="statistics", threshold=0.7
)
LABELS = {
    0: ("names of rivers", 0.9),
    1: ("the token 'river' in the plural", 0.8),
    2: ("rivers, but only a guess", 0.6),
    3: ("", 0.9),
    4: ("城市的名字, city names", 0.95),
    5: ("50% and a_b", 0.95),
    6: ("words after running", 0.75),
    7: ("the", 0.75),
}


def scored(latent: int) -> tuple[Label, tuple[Score, ...]]:
    text, low = LABELS[latent]
    label = Label(latent, text, "statistics", {"token": latent}, 0.5, 0.25)
    return label, (
        Score("detection", low + 0.02, low, low + 0.04, 40),
        Score("fuzzing", 0.5, 0.4, 0.6, 30),
    )


@pytest.fixture
def sealed(tmp_path):
    with LabelWriter(tmp_path / "work.sqlite", META) as writer:
        writer.append(map(scored, LABELS))
        return writer.seal(tmp_path / "labels.sqlite")


@pytest.fixture
def reader(sealed):
    with LabelReader(sealed) as reader:
        yield reader


def found(reader: LabelReader, text: str, **options) -> list[int]:
    return [one.latent for one in reader.search(text, **options)]


def test_labels_and_scores_come_back(reader):
    assert reader.meta == META
    assert len(reader) == len(LABELS)
    assert (reader.label(1), reader.scores(1)) == scored(1)
    assert list(reader.labels()) == [scored(latent)[0] for latent in LABELS]
    assert reader.label(99) is None
    assert reader.scores(99) == ()


def test_a_label_below_the_threshold_is_never_shown(reader):
    assert reader.shown(0) == "names of rivers"
    assert reader.shown(2) == NOT_KNOWN
    assert reader.shown(2, threshold=0.6) == "rivers, but only a guess"
    assert reader.shown(0, threshold=0.91) == NOT_KNOWN
    assert found(reader, "rivers") == [0, 1]
    assert found(reader, "rivers", threshold=0.6) == [0, 2, 1]
    assert reader.known() == {0, 1, 4, 5, 6, 7}


def test_an_empty_label_and_one_without_a_score_are_not_known(tmp_path, reader):
    assert reader.shown(3, threshold=0.0) == NOT_KNOWN
    assert reader.shown(99, threshold=0.0) == NOT_KNOWN
    with LabelWriter(tmp_path / "bare.sqlite", META) as writer:
        writer.append([(scored(0)[0], ())])
        writer.seal(tmp_path / "bare-sealed.sqlite")
    with LabelReader(tmp_path / "bare-sealed.sqlite") as bare:
        assert bare.shown(0, threshold=0.0) == NOT_KNOWN
        assert found(bare, "rivers", threshold=0.0) == []


def test_search_takes_stems_beginnings_and_no_stop_words(reader):
    assert found(reader, "the run") == [6]
    assert found(reader, "name") == [0, 4]
    assert found(reader, "names riv") == [0]
    assert found(reader, "rivers nowhere") == []
    assert found(reader, "the") == [7, 1]
    assert found(reader, "rivers", limit=1) == [0]


def test_search_finds_parts_of_chinese_and_signs(reader):
    assert found(reader, "城市") == [4]
    assert found(reader, "城市的 名") == [4]
    assert found(reader, "%") == [5]
    assert found(reader, '"') == []
    assert found(reader, "的 城x") == []


@pytest.mark.parametrize("hostile", ['"', "a OR", "NEAR(", "label_words:x", "*", "'; DROP", "-x"])
def test_no_text_is_read_as_a_query(reader, hostile):
    assert found(reader, hostile) in ([], [5], [7], [5, 7])


def test_an_empty_search_is_refused(reader):
    with pytest.raises(RecipeError, match="at least one word"):
        reader.search("  ")


def test_blocks_order_and_repetition_do_not_change_a_byte(tmp_path, sealed):
    work = tmp_path / "other.sqlite"
    with LabelWriter(work, META) as writer:
        writer.append(map(scored, (5, 3)))
        writer.append([(Label(1, "an older label", "x"), ())])
    with LabelWriter(work, META) as writer:
        assert writer.written() == {1, 3, 5}
        for latent in (7, 6, 4, 2, 1, 0):
            writer.append([scored(latent)])
        writer.seal(tmp_path / "again.sqlite")
    assert (tmp_path / "again.sqlite").read_bytes() == sealed.read_bytes()


def test_labels_of_another_atlas_are_not_mixed_in(tmp_path, sealed):
    other = META.model_copy(update={"atlas_digest": "b" * 64})
    with pytest.raises(ArtifactError, match=r"something else \(atlas_digest was 'aaa"):
        LabelWriter(tmp_path / "work.sqlite", other)


def test_labels_that_are_being_written_are_read_but_not_searched(tmp_path):
    with LabelWriter(tmp_path / "work.sqlite", META) as writer:
        writer.append([scored(0)])
        with LabelReader(tmp_path / "work.sqlite") as reader:
            assert reader.shown(0) == "names of rivers"
            with pytest.raises(ArtifactError, match="still being written"):
                reader.search("rivers")


def test_a_census_is_no_labels(tmp_path, meta):
    from lmscope.atlas.store import CensusReader, CensusWriter

    CensusWriter(tmp_path / "census.sqlite", meta).close()
    with pytest.raises(ArtifactError, match="holds no labels"):
        LabelReader(tmp_path / "census.sqlite")
    LabelWriter(tmp_path / "labels.sqlite", META).close()
    with pytest.raises(ArtifactError, match="holds no census"):
        CensusReader(tmp_path / "labels.sqlite")
