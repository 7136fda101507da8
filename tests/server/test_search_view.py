"""A search asks every dictionary, and one that cannot answer hides no other."""

from contextlib import closing

import pytest

from lmscope.server.failures import NotFound, WrongInput
from lmscope.server.library.library import Library
from lmscope.server.views.search import search


@pytest.fixture
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


def test_labels_are_found_in_every_dictionary_that_has_some(library, small_library):
    answer = search(library, "alert", "label", [], 1)
    assert [hit.dictionary.id for hit in answer.hits] == [small_library.hostile_id] or {
        hit.dictionary.id for hit in answer.hits
    } == {small_library.hostile_id, small_library.packed_id}
    for hit in answer.hits:
        assert len(hit.rows) == 1
        assert hit.total >= 2
        assert "alert" in hit.rows[0].label
    (without,) = [one for one in answer.problems if "No labels" in one.message]
    assert without.where == "resid_post-1-128-topk-4"


def test_tokens_are_found_with_their_firings(library, small_library):
    answer = search(library, "🙂", "token", [], 20)
    ids = {hit.dictionary.id for hit in answer.hits}
    assert ids == {small_library.hostile_id, small_library.packed_id}
    for hit in answer.hits:
        with library.atlas(hit.dictionary.id) as atlas:
            expected = [one.latent for one in atlas.records() if one.tokens[0].token]
            best = atlas.on_token("🙂")
        assert tuple(row.latent for row in hit.rows) == best.latents
        assert tuple(row.value for row in hit.rows) == best.values
        assert len(expected) == 12
        assert hit.value_name == "fires on it"
    assert answer.problems == []


def test_a_number_or_an_address_goes_straight_to_the_feature(library, small_library):
    answer = search(library, f"{small_library.narrow}/9", "label", [], 20)
    first = answer.hits[0]
    assert (first.dictionary.id, first.value_name) == (small_library.narrow, "number")
    assert [row.latent for row in first.rows] == [9]
    assert answer.kind == "label"
    everywhere = search(library, "100", "token", [], 20)
    assert [hit.dictionary.id for hit in everywhere.hits] == [small_library.wide]
    assert search(library, "nowhere/9", "token", [], 20).hits == []
    named = search(library, "9", "token", [small_library.narrow], 20)
    assert [hit.dictionary.id for hit in named.hits] == [small_library.narrow]
    assert search(library, "123456789012345", "token", [], 20).hits == []


def test_near_compares_rows_of_one_model_across_dictionaries(library, small_library):
    answer = search(library, f"{small_library.narrow}/5", "near", [], 3)
    assert {hit.dictionary.id for hit in answer.hits} == {small_library.narrow, small_library.wide}
    best = [hit.rows[0].value for hit in answer.hits]
    assert best == sorted(best, reverse=True)
    for hit in answer.hits:
        assert (hit.value_name, len(hit.rows)) == ("cosine", 3)
        if hit.dictionary.id == small_library.narrow:
            assert 5 not in [row.latent for row in hit.rows]
    (problem,) = answer.problems
    assert "Rows of another model" in problem.message
    by_name = search(library, "resid_post-1-64-topk-4/5", "near", [], 3)
    assert by_name.hits == answer.hits


@pytest.mark.parametrize(
    ("query", "error", "sentence"),
    [
        ("rivers", WrongInput, "'rivers' is not a feature"),
        ("nowhere/3", NotFound, "no dictionary 'nowhere'"),
        (" ", WrongInput, "at least one word"),
        ("\0", WrongInput, "at least one word"),
    ],
)
def test_what_is_no_feature_has_nothing_near(library, query, error, sentence):
    with pytest.raises(error, match=sentence):
        search(library, query, "near", [], 3)


def test_a_latent_that_is_not_there_has_nothing_near(library, small_library):
    with pytest.raises(NotFound, match="has no latent 64"):
        search(library, f"{small_library.narrow}/64", "near", [], 3)


def test_a_damaged_atlas_is_named_and_hides_no_other(own_library):
    census = own_library.hostile / "artifacts/atlas/20260101-000000-hostile/census.sqlite"
    with closing(Library([own_library.root])) as library:
        library.refresh()
        data = census.read_bytes()
        census.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
        answer = search(library, "🙂", "token", [], 5)
        listed = library.problems()
    assert [hit.dictionary.id for hit in answer.hits] == [own_library.packed_id]
    # Noticed while it is asked, or before: then the dictionary is gone from the list, and the file is named there.
    assert any(
        "damaged" in m or "cannot be read" in m for m in (p.message for p in answer.problems)
    )
    assert any("census.sqlite" in one.where or "damaged" in one.message for one in listed)


def test_a_dictionary_that_is_not_served_is_refused(library):
    with pytest.raises(NotFound, match="no dictionary 'gone'"):
        search(library, "rivers", "label", ["gone"], 3)
