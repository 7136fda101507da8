"""Library: what it lists of a folder of runs, and how it notices what changes there."""

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lmscope.atlas.pack import pack
from lmscope.core.errors import ArtifactError
from lmscope.dictionaries import storage
from lmscope.jobs import reports, suite
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.server.failures import Busy, Damaged, NotFound
from lmscope.server.library import scan
from lmscope.server.library.library import Library


@pytest.fixture
def library(small_library):
    with closing(Library([small_library.root])) as library:
        yield library


@pytest.fixture
def own(own_library):
    with closing(Library([own_library.root])) as library:
        library.refresh()
        yield library


def test_names_of_files_are_those_of_the_modules_that_write_them():
    assert (scan.DICTIONARY_KIND, scan.DICTIONARY_FORMATS) == (storage.KIND, storage.READABLE)
    assert storage.CONFIG_FILE == scan.DICTIONARY_CONFIG
    assert (scan.HEALTH_KIND, scan.HEALTH_FORMATS) == (reports.KIND, (reports.FORMAT_VERSION,))
    assert (scan.SUITE_FILE, scan.SUITE_FORMAT) == (suite.FILE, suite.FORMAT_VERSION)


def test_everything_of_a_folder_is_listed(library, small_library):
    assert {run.path for run in library.runs()} == {
        small_library.train,
        small_library.atlas,
        small_library.explained,
        small_library.hostile,
    }
    assert library.problems() == ()
    created = [run.record.created for run in library.runs()]
    assert created == sorted(created)


def test_a_dictionary_has_what_lies_about_it_in_several_runs(library, small_library):
    entry = library.dictionary(small_library.narrow)
    assert entry.run == small_library.train.name
    assert entry.folder == small_library.train / "artifacts/dictionaries/resid_post-1-64-topk-4"
    assert (
        entry.digest == json.loads((entry.folder / "manifest.json").read_text())["content_digest"]
    )
    assert [one.run for one in entry.atlases] == [small_library.atlas.name]
    assert [one.run for one in entry.atlases[0].labels] == [small_library.explained.name]
    assert entry.atlases[0].n_labels == 12
    assert [(one.run, one.own) for one in entry.reports] == [(entry.run, True)]
    assert entry.status == "measured"
    assert (entry.reads, entry.writes, entry.sparsity) == ("resid_post@1", "resid_post@1", "topk")


def test_figures_of_a_suite_are_those_of_its_reports(library, small_library):
    run = library.run(small_library.train.name)
    assert [row.status for row in run.suite] == ["measured", "measured"]
    assert len(run.dictionaries) == 2
    for one in run.dictionaries:
        entry = library.dictionary(one)
        assert entry.figures == entry.reports[0].figures
        assert entry.figures.l0 == pytest.approx(4)


def test_an_atlas_without_its_dictionary_is_served_alone(library, small_library):
    entry = library.dictionary(small_library.packed_id)
    assert (entry.status, entry.run, entry.folder) == ("atlas only", None, None)
    with library.atlas(small_library.packed_id) as atlas:
        assert atlas.path == small_library.packed
        assert atlas.n_known == entry.atlases[0].n_known > 0


def test_models_are_those_of_runs_and_of_dictionaries(library, small_library):
    (mine,) = [one for one in library.models() if one.name == str(small_library.model)]
    assert set(mine.dictionaries) == {small_library.narrow, small_library.wide}
    assert small_library.train.name in mine.runs
    assert str(small_library.model.parent) not in mine.id
    assert library.model(mine.id) == mine


def test_a_run_or_a_packed_file_can_be_served_alone(small_library):
    with closing(Library([small_library.train, small_library.packed])) as library:
        assert [run.id for run in library.runs()] == [small_library.train.name]
        assert library.dictionary(small_library.packed_id).atlases[0].where == "packed.atlas"
        assert library.dictionary(small_library.narrow).atlases == ()


def test_runs_of_one_name_in_two_folders_have_two_ids(small_library, own_library):
    with closing(Library([small_library.root, own_library.root])) as library:
        ids = {run.id: run.path for run in library.runs()}
        assert len(ids) == 8
        assert len(library.dictionaries()) == 4
        name = small_library.train.name
        assert {ids[name], ids[f"runs.{name}"]} == {small_library.train, own_library.train}


def test_a_folder_served_twice_is_listed_once(small_library):
    with closing(Library([small_library.root, small_library.root / ".." / "runs"])) as library:
        assert len(library.runs()) == 4


def test_a_packed_copy_of_an_atlas_that_is_here_adds_nothing(own, own_library):
    with own.atlas(own_library.narrow) as atlas:
        pack(atlas, own_library.root / "copy.atlas")
    own.refresh()
    assert [one.is_packed for one in own.dictionary(own_library.narrow).atlases] == [False]


def test_a_folder_that_goes_is_a_problem_and_the_rest_is_served(small_library, tmp_path):
    folder = tmp_path / "absent"
    with closing(Library([folder, small_library.root])) as library:
        assert len(library.runs()) == 4
        assert not library.problems()  # the first run will make it
        folder.mkdir()
        library.refresh()
        folder.rmdir()
        library.refresh()
        assert len(library.runs()) == 4
        (problem,) = library.problems()
        assert "No such file" in problem.message


def test_unknown_ids_say_what_is_near(library, small_library):
    with pytest.raises(NotFound, match=f"Did you mean {small_library.narrow}"):
        library.dictionary(small_library.narrow[:-1])
    with pytest.raises(NotFound, match="There is no run"):
        library.run("../../etc")
    with pytest.raises(NotFound, match="There is no model"):
        library.model("nobody")
    with pytest.raises(NotFound, match=r"has no atlas 'ffff'\. It has"):
        library.atlas_entry(small_library.narrow, "ffff")
    with pytest.raises(NotFound, match="has no atlas ''"):
        library.atlas_entry(small_library.narrow, "")


def test_a_dictionary_without_an_atlas_says_how_to_make_one(small_library):
    with (
        closing(Library([small_library.train])) as library,
        pytest.raises(NotFound, match="lmscope atlas build"),
        library.atlas(small_library.wide),
    ):
        pass


def test_where_nothing_changed_the_tables_stay_the_same(own):
    before = own.catalogue
    own.refresh()
    assert own.catalogue is before


def test_a_new_run_appears_and_a_removed_one_goes(own, own_library):
    with Run.create(own_library.root, Recipe(job="train", name="new"), name="new"):
        own.refresh()
        assert own.run("new").status == "running"
        assert own.run("new").elapsed_s >= 0
    own.refresh()
    assert own.run("new").status == "done"
    shutil.rmtree(own_library.root / "new")
    own.refresh()
    with pytest.raises(NotFound, match="was removed from the disk"):
        own.run("new")


def test_a_run_whose_process_was_killed_reads_as_interrupted(own, own_library):
    record = own_library.train / "run.json"
    record.write_text(record.read_text().replace('"done"', '"running"'))
    own.refresh()
    assert own.run(own_library.train.name).status == "interrupted"


def test_a_replaced_atlas_is_served_and_the_old_one_closed(own, own_library, hostile_run, tmp_path):
    entry = own.dictionary(own_library.hostile_id)
    with own.atlas(entry.id) as old:
        before = old.record(0)
    other = hostile_run(tmp_path / "other", entry.name, ("a", "b", "c"))
    shutil.rmtree(own_library.hostile)
    shutil.copytree(other, own_library.hostile)
    own.refresh()
    found = own.dictionary(own_library.hostile_id)
    assert found.atlases[0].id != entry.atlases[0].id
    with own.atlas(entry.id) as new:
        assert len(new) == 3
        assert new is not old
        assert new.record(0).n_fired != before.n_fired
    with pytest.raises(ArtifactError):
        old.record(0)


def test_new_labels_of_an_atlas_are_noticed(own, own_library):
    labels = own_library.explained
    shutil.move(labels, own_library.root.parent / "aside")
    own.refresh()
    assert own.dictionary(own_library.narrow).atlases[0].n_labels == 0
    with own.atlas(own_library.narrow) as atlas:
        assert atlas.labels == ()
    shutil.move(own_library.root.parent / "aside", labels)
    own.refresh()
    assert own.dictionary(own_library.narrow).atlases[0].n_labels == 12
    with own.atlas(own_library.narrow) as atlas:
        assert len(atlas.labels) == 1


def test_a_second_source_of_labels_counts_each_latent_once(own, own_library):
    again = own_library.explained.with_name(f"{own_library.explained.name}-again")
    shutil.copytree(own_library.explained, again)
    own.refresh()
    atlas = own.dictionary(own_library.narrow).atlases[0]
    assert len(atlas.labels) == 2
    assert atlas.n_labels == 12
    assert atlas.n_known == atlas.labels[0].n_known


def test_an_atlas_removed_a_moment_ago_is_not_found(own, own_library):
    shutil.rmtree(own_library.hostile)
    with (
        pytest.raises(NotFound, match="was removed from the disk"),
        own.atlas(own_library.hostile_id),
    ):
        pass
    with pytest.raises(NotFound, match="was removed from the disk"):
        own.dictionary(own_library.hostile_id)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("train/run.json", "run.json' is damaged"),
        ("train/artifacts/suite.json", "suite.json' is damaged"),
        ("train/recipe.toml", "is not a TOML file"),
        ("train/artifacts/dictionaries/resid_post-1-64-topk-4/config.json", "is damaged"),
        ("train/artifacts/health/resid_post-1-64-topk-4/report.json", "is damaged"),
        ("atlas/artifacts/atlas/resid_post-1-64-topk-4/census.sqlite", "is damaged"),
        ("atlas/artifacts/atlas/resid_post-1-64-topk-4/manifest.json", "is damaged"),
        ("explained/artifacts/labels/resid_post-1-64-topk-4/labels.sqlite", "is damaged"),
        ("packed", "is damaged"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_served(own, own_library, file, said):
    run, _, inner = file.partition("/")
    path = getattr(own_library, run) / inner if inner else getattr(own_library, run)
    path.write_bytes(b"{ this is no longer what it was")
    own.refresh()
    problems = own.problems()
    assert any(said in one.message for one in problems), problems
    assert all(one.where.startswith(("runs/", "packed")) for one in problems)
    assert own.dictionary(own_library.wide).atlases
    assert own.dictionary(own_library.hostile_id)


def test_a_dictionary_whose_atlas_is_damaged_says_so(own, own_library):
    census = own_library.atlas / "artifacts/atlas/resid_post-1-64-topk-4/census.sqlite"
    census.write_bytes(b"nothing that it was")
    own.refresh()
    with pytest.raises(Damaged, match=r"census\.sqlite' is damaged"), own.atlas(own_library.narrow):
        pass


def test_an_atlas_found_damaged_while_it_is_read_is_listed_until_it_is_replaced(own, own_library):
    census = own_library.atlas / "artifacts/atlas/resid_post-1-64-topk-4/census.sqlite"
    whole = census.read_bytes()
    with closing(sqlite3.connect(census)) as connection, connection:
        connection.execute("UPDATE latent SET blob = x'00' WHERE id = 5")
    own.refresh()
    assert own.problems() == ()

    def read(latent):
        with own.atlas(own_library.narrow) as atlas:
            return atlas.record(latent)

    with pytest.raises(ArtifactError, match="damaged"):
        read(5)
    assert [one.message.count("damaged") for one in own.problems()] == [1]
    assert read(4).latent == 4
    census.write_bytes(whole)
    own.refresh()
    assert own.problems() == ()
    assert read(5).latent == 5


def evaluation(root: Path, name: str, asked: str, report: Path) -> Run:
    """A run that measured a dictionary again."""
    recipe = Recipe(job="evaluate", name="evaluate")
    with Run.create(root, recipe, name=name) as run:
        shutil.copytree(report, run.artifacts / "health" / report.name)
    with (run.path / "recipe.toml").open("a") as file:
        file.write(f"dictionary = {json.dumps(asked)}\n")
    return run


@pytest.mark.parametrize("by", ["run", "folder", "moved"])
def test_an_evaluation_belongs_to_the_dictionary_that_it_measured(own, own_library, by):
    name = "resid_post-1-64-topk-4"
    asked = {
        "run": str(own_library.train),
        "folder": str(own_library.train / "artifacts/dictionaries" / name),
        "moved": f"/elsewhere/{own_library.train.name}",
    }[by]
    evaluation(own_library.root, "again", asked, own_library.train / "artifacts/health" / name)
    own.refresh()
    reports_of_it = own.dictionary(own_library.narrow).reports
    assert [(one.run, one.own) for one in reports_of_it] == [
        (own_library.train.name, True),
        ("again", False),
    ]
    assert len(own.dictionary(own_library.wide).reports) == 1


def test_an_evaluation_of_another_run_belongs_to_no_dictionary_here(own, own_library):
    health = own_library.train / "artifacts/health/resid_post-1-64-topk-4"
    evaluation(own_library.root, "again", "/elsewhere/another-run", health)
    own.refresh()
    assert len(own.dictionary(own_library.narrow).reports) == 1


def test_a_report_of_another_shape_belongs_to_no_dictionary_here(own, own_library):
    name = "resid_post-1-64-topk-4"
    health = own_library.train / "artifacts/health"
    other = shutil.copytree(health / "resid_post-1-128-topk-4", own_library.root / ".aside" / name)
    evaluation(own_library.root, "again", str(own_library.train), Path(other))
    own.refresh()
    assert len(own.dictionary(own_library.narrow).reports) == 1


def test_readers_never_fail_while_an_atlas_is_replaced(own, own_library, hostile_run, tmp_path):
    name, target = own.dictionary(own_library.hostile_id).name, own_library.hostile
    versions = [
        hostile_run(tmp_path / str(n), name, tuple(f"word{i}" for i in range(n))) for n in (3, 5)
    ]
    stop, failed, sizes = threading.Event(), [], set()

    def read():
        while not stop.is_set():
            try:
                for one in (own_library.hostile_id, own_library.narrow):
                    with own.atlas(one) as atlas:
                        sizes.add(len(atlas))
                        atlas.feature(len(atlas) - 1)
            except (NotFound, Busy):  # between the two renames below
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, it fails the test
                failed.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for turn in range(10):
        fresh = Path(shutil.copytree(versions[turn % 2], tmp_path / f"fresh{turn}"))
        target.rename(tmp_path / f"old{turn}")
        fresh.rename(target)
        own.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sizes >= {64, 5}
