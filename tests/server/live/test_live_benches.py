"""What the process keeps in memory, and what it says while it works."""

import pytest

from lmscope.core.errors import ModelError
from lmscope.server.library.library import Library
from lmscope.server.live.benches import Benches
from lmscope.server.live.process import Worker
from lmscope.server.live.protocol import Wanted, read_line


@pytest.fixture
def wanted(small_library):
    """`wanted(id)`: a dictionary of the small library, with median norms so that nothing is measured."""
    library = Library([small_library.root])

    def wanted(dictionary: str, **changes) -> Wanted:
        entry = library.dictionary(dictionary)
        run = str(library.run(entry.run).path)
        given = {"median_norms": {"resid_post@1": 1.0}, **changes}
        return Wanted(entry.id, entry.digest, str(entry.folder), run, **given)

    yield wanted
    library.close()


def test_one_model_serves_several_dictionaries_and_each_is_loaded_once(small_library, wanted):
    said = []
    benches = Benches(said.append)
    asked = [wanted(small_library.narrow), wanted(small_library.wide)]
    first = [benches.open(one, benches.find(one)) for one in asked]
    again = [benches.open(one, benches.find(one)) for one in asked]
    assert first[0].model is first[1].model is again[0].model
    assert [one.dictionary for one in first] == [one.dictionary for one in again]
    messages = [report.message for report in said if report.state == "loading"]
    assert sum("Loading the model" in message for message in messages) == 1
    assert sum("Loading the dictionary" in message for message in messages) == 2
    benches.report("ready")
    assert said[-1].dictionaries == (small_library.narrow, small_library.wide)


def test_dictionaries_beyond_the_budget_go_the_one_not_used_for_longest_first(
    small_library, wanted
):
    said = []
    benches = Benches(said.append, max_bytes=1)
    for one in (wanted(small_library.narrow), wanted(small_library.wide)):
        benches.open(one, benches.find(one))
    benches.report("ready")
    assert said[-1].dictionaries == (small_library.wide,)


def test_without_an_atlas_the_norms_are_measured_once_on_the_training_text(small_library, wanted):
    said = []
    benches = Benches(said.append)
    one = wanted(small_library.narrow, median_norms=None)
    first = benches.open(one, benches.find(one)).exclusion
    again = benches.open(one, benches.find(one)).exclusion
    assert first is again
    assert [str(site) for site in first.median_norm] == ["resid_post@1"]
    measured = [report for report in said if "Measuring" in (report.message or "")]
    assert len(measured) == 1


def test_a_model_that_cannot_be_loaded_leaves_none_behind_and_the_next_one_loads(
    small_library, wanted
):
    benches = Benches(lambda _report: None)
    one = wanted(small_library.narrow)
    subject = benches.find(one)
    gone = subject.task.model.model_copy(update={"name": "/nowhere/model"})
    with pytest.raises(ModelError, match="no model folder"):
        benches.model(gone)
    assert not benches.is_loaded(gone)
    assert benches.open(one, subject).model.name == str(small_library.model)


def test_a_defect_is_told_and_the_process_goes_on(caplog):
    said = []
    worker = Worker(lambda text: said.append(read_line(text)))
    worker.do({"request": 7, "kind": "probe", "payload": {}})
    assert said[-1] == {"defect": 7, "message": "KeyError: 'text'"}
    assert "A request failed" in caplog.text
    assert said[-2]["state"] == "ready"


def test_norms_of_several_dictionaries_of_one_run_are_measured_in_one_reading(
    small_library, wanted
):
    said = []
    benches = Benches(said.append)
    asked = [wanted(one, median_norms=None) for one in (small_library.narrow, small_library.wide)]
    found = [(one, benches.find(one)) for one in asked]
    benches.measure(found)
    first, second = (benches.open(*one).exclusion for one in found)
    assert first is second
    assert sum("Measuring" in (report.message or "") for report in said) == 1
