"""Notes, stars and tags are kept by dictionary and latent, apart from every run."""

import pytest

from lmscope.atlas import database
from lmscope.atlas.notes import Note, Notes
from lmscope.core.errors import ArtifactError, RecipeError

A, B = "a" * 64, "b" * 64


@pytest.fixture
def notes(tmp_path):
    with Notes(tmp_path / "notes.sqlite") as notes:
        yield notes


def test_reading_makes_no_file(notes):
    assert notes.note(A, 1) == Note(A, 1)
    assert notes.note(A, 1).is_empty
    assert notes.notes(A) == ()
    assert notes.tags() == ()
    assert not notes.path.exists()


def test_notes_stars_and_tags_come_back(notes):
    notes.write(A, 1, "fires on rivers")
    notes.star(A, 1)
    notes.tag(A, 1, " water ")
    notes.tag(A, 1, "names")
    notes.tag(A, 1, "names")
    notes.tag(A, 2, "names")
    notes.write(B, 1, "another dictionary")
    with Notes(notes.path) as again:
        assert again.note(A, 1) == Note(A, 1, "fires on rivers", True, ("names", "water"))
        assert [one.latent for one in again.notes(A)] == [1, 2]
        assert [one.latent for one in again.notes(A, starred=True)] == [1]
        assert [one.latent for one in again.notes(A, tag="water")] == [1]
        assert again.tags() == ("names", "water")
        assert again.note(B, 1).text == "another dictionary"


def test_what_is_taken_away_is_gone(notes):
    notes.write(A, 1, "x")
    notes.star(A, 1)
    notes.tag(A, 1, "y")
    notes.write(A, 1, "")
    notes.star(A, 1, on=False)
    notes.untag(A, 1, "y")
    assert notes.note(A, 1).is_empty
    assert notes.notes(A) == ()


@pytest.mark.parametrize("tag", ["", "  ", "a,b", "x" * 65])
def test_a_tag_is_a_few_words(notes, tag):
    with pytest.raises(RecipeError, match="A tag is a word or a few"):
        notes.tag(A, 1, tag)


def test_a_dictionary_is_named_by_its_digest(notes):
    with pytest.raises(RecipeError, match="64 hex digits; 'resid_post-14' is none"):
        notes.write("resid_post-14", 1, "x")


def test_two_writers_take_turns(notes):
    with Notes(notes.path) as other:
        notes.write(A, 1, "first")
        other.write(A, 2, "second")
        notes.write(A, 1, "third")
        assert [one.text for one in other.notes(A)] == ["third", "second"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.sqlite").write_bytes(b"words" * 1000)
    with pytest.raises(ArtifactError, match="damaged"):
        Notes(tmp_path / "notes.sqlite")


def test_on_a_network_file_system_there_is_no_write_ahead_log(notes, monkeypatch):
    from lmscope.atlas import notes as module

    monkeypatch.setattr(module, "network_file_system", lambda path: "nfs4")
    notes.write(A, 1, "x")
    assert notes.path.read_bytes()[18:20] == b"\x01\x01"
    assert database.network_file_system(notes.path) is None


def test_a_note_is_replaced_as_a_whole(notes):
    notes.write(A, 1, "old")
    notes.tag(A, 1, "gone")
    notes.tag(A, 2, "stays")
    kept = notes.replace(Note(A, 1, "new", True, (" water ", "names", "water")))
    assert kept == notes.note(A, 1) == Note(A, 1, "new", True, ("names", "water"))
    assert notes.starred(A) == {1}
    assert notes.tagged(A, "water") == {1}
    assert notes.tagged(A, "gone") == frozenset()
    assert notes.tagged(A, "stays") == {2}
    assert notes.starred(B) == frozenset()


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        (Note(A, 1, "x" * 20_001), "at most 20,000 characters, this one has 20,001"),
        (Note(A, 1, "new", True, ("fine", "a,b")), "without commas; 'a,b' is none"),
    ],
)
def test_a_note_that_is_refused_changes_nothing(notes, note, sentence):
    notes.write(A, 1, "old")
    with pytest.raises(RecipeError, match=sentence):
        notes.replace(note)
    assert notes.note(A, 1) == Note(A, 1, "old")
