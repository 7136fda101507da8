"""Library: what it lists of a folder of runs, and how it notices what changes there."""

from lmscope.server.library.library import Library


def test_everything_of_a_folder_is_listed(small_library):
    library = Library([small_library.root])
    runs = {run.id for run in library.runs()}
    assert {small_library.train.name, small_library.atlas.name} <= runs
    assert library.problems() == ()
    assert library.dictionary(small_library.narrow).status == "measured"
    assert library.dictionary(small_library.hostile_id).status == "atlas only"
    with library.atlas(small_library.packed_id) as atlas:
        assert atlas.path == small_library.packed
    library.close()
