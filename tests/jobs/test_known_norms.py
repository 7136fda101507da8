"""Median norms are measured once for all that they depend on."""

import pytest

from lmscope.core.site import Site
from lmscope.jobs.known_norms import norms_by
from lmscope.models import store

SITES = [Site.parse("mlp_out@1"), Site.parse("resid_post@0")]
FACTS = {"weights": "abc", "seed": 0}


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path / "cache"))
    calls = []

    def measured(facts=FACTS, sites=SITES):
        def measure():
            calls.append(facts)
            return {site: 1.5 + site.layer for site in sites}

        return norms_by(facts, sites, measure), len(calls)

    return measured


def test_the_second_time_nothing_is_measured(measured):
    first, again = measured(), measured(sites=SITES[::-1])
    assert first == again == ({Site.parse("mlp_out@1"): 2.5, Site.parse("resid_post@0"): 1.5}, 1)


def test_other_weights_text_or_sites_are_measured_anew(measured):
    measured()
    assert measured({**FACTS, "weights": "abd"})[1] == 2
    assert measured({**FACTS, "seed": 1})[1] == 3
    assert measured(sites=SITES[:1])[1] == 4


def test_damage_and_a_cache_that_cannot_be_written_cost_time_only(measured):
    measured()
    (note,) = (store.cache_root() / "norms").iterdir()
    note.write_text("{")
    assert measured()[1] == 2
    assert measured()[1] == 2
    note.unlink()
    note.parent.rmdir()
    note.parent.write_text("in the way")
    assert measured()[1] == 3
    assert measured() == ({Site.parse("mlp_out@1"): 2.5, Site.parse("resid_post@0"): 1.5}, 4)
