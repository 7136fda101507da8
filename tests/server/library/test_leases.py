"""Atlases stay open between requests, are used by one thread at a time, and close when they should."""

import threading
from dataclasses import replace

import pytest

from lmscope.core.errors import ArtifactError
from lmscope.server.library.leases import OpenAtlases
from lmscope.server.library.library import Library


@pytest.fixture
def entries(small_library):
    library = Library([small_library.root])
    return [one.atlases[0] for one in library.dictionaries()]


def is_open(atlas):
    try:
        atlas.record(0)
    except Exception:  # noqa: BLE001 - sqlite's own, of a closed file
        return False
    return True


def test_an_atlas_is_opened_once(entries):
    opened = OpenAtlases()
    with opened.lease(entries[0]) as first:
        pass
    with opened.lease(entries[0]) as second:
        assert second is first
        assert is_open(first)
    opened.close()
    assert not is_open(first)


def test_one_thread_waits_for_another_and_other_atlases_do_not(entries):
    opened = OpenAtlases()
    inside, release, done = threading.Event(), threading.Event(), threading.Event()

    def hold():
        with opened.lease(entries[0]):
            inside.set()
            release.wait()

    def follow():
        with opened.lease(entries[0]):
            done.set()

    threads = [threading.Thread(target=hold), threading.Thread(target=follow)]
    threads[0].start()
    inside.wait()
    threads[1].start()
    with opened.lease(entries[1]) as other:
        assert is_open(other)
    assert not done.is_set()
    release.set()
    for thread in threads:
        thread.join()
    assert done.is_set()
    opened.close()


def test_one_that_is_not_wanted_closes_when_it_is_given_back(entries):
    opened = OpenAtlases()
    with opened.lease(entries[0]) as atlas:
        opened.keep([])
        assert is_open(atlas)
    assert not is_open(atlas)


def test_one_whose_files_changed_is_opened_anew(entries):
    opened = OpenAtlases()
    with opened.lease(entries[0]) as old:
        pass
    changed = replace(entries[0], signature=("other",))
    opened.keep([changed])
    assert not is_open(old)
    with opened.lease(changed) as new:
        assert new is not old
    opened.close()


def test_only_so_many_stay_open(entries):
    opened = OpenAtlases(most=1)
    with opened.lease(entries[0]) as first:
        pass
    with opened.lease(entries[1]) as second:
        pass
    assert not is_open(first)
    assert is_open(second)
    opened.close()


def test_one_that_cannot_be_opened_is_tried_again(entries, tmp_path):
    opened = OpenAtlases()
    missing = replace(entries[0], path=tmp_path / "missing")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="nothing is there"), opened.lease(missing):
            pass
    opened.close()
