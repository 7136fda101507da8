import pytest

from lmscope.core.errors import RunError
from lmscope.runs.listing import diff_runs, list_runs, remove_run
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run


def make(root, name, *, seed=0, loss=1.0):
    with Run.create(root, Recipe(job="a", name=name, seed=seed), name=name) as run:
        run.note_weights({"model": "abc"})
        run.metrics(1, {"loss": 5.0})
        run.metrics(2, {"loss": loss})
        run.event("result", name="it", figures={"error": 9.0})
        run.event("result", name="it", figures={"error": loss})
    return Run.open(run.path)


def test_runs_are_listed_and_damaged_ones_say_why(tmp_path):
    make(tmp_path, "one")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "no-run").mkdir()
    entries = {entry.path.name: entry for entry in list_runs(tmp_path)}
    assert set(entries) == {"one", "broken"}
    assert entries["one"].run.status == "done"
    assert "damaged" in entries["broken"].problem


def test_runs_begun_within_one_second_are_listed_in_their_order(tmp_path):
    names = ["zebra", "yak", "ant", "bee"]
    for name in names:
        make(tmp_path, name)
    assert [entry.path.name for entry in list_runs(tmp_path)] == names


def test_an_absent_folder_has_no_runs(tmp_path):
    assert list_runs(tmp_path / "absent") == ()


def test_a_diff_names_recipe_keys_and_last_metrics(tmp_path):
    diff = diff_runs(make(tmp_path, "one"), make(tmp_path, "two", seed=1, loss=2.0))
    assert diff.recipe == {"name": ("one", "two"), "seed": (0, 1)}
    assert diff.metrics == {"loss": (1.0, 2.0)}
    assert diff.results == {"it.error": (1.0, 2.0)}
    assert diff.machine == diff.weights == {}


def test_a_run_is_removed_unless_it_is_running(tmp_path):
    with Run.create(tmp_path, Recipe(job="a", name="x")) as run:
        with pytest.raises(RunError, match="in use"):
            remove_run(run.path)
        assert run.path.is_dir()
    remove_run(run.path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_not_removed(tmp_path):
    (tmp_path / "precious").mkdir()
    with pytest.raises(RunError, match="nothing was removed"):
        remove_run(tmp_path / "precious")
    assert (tmp_path / "precious").is_dir()
