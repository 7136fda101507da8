"""`lmscope atlas build` as a person meets it: options, plans, reports, and what can go wrong."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from lmscope.cli.main import main
from lmscope.core import files
from lmscope.core.errors import ArtifactError, ModelError, RunError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.atlas import AtlasRecipe, build_atlas
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

NAME = "resid_post-1-64-topk-4"
SMALL = ("census.tokens=1500", "census.batch_tokens=128", "census.shard_tokens=256")
SETS = [word for change in SMALL for word in ("--set", change)]


@pytest.fixture
def user(desk, trained) -> Run:
    """A run that trained one dictionary, in the folder of a user."""
    return Run.open(shutil.copytree(trained.path, Path("runs") / trained.path.name))


def small_recipe(run: Run) -> AtlasRecipe:
    census = {"tokens": 1500, "batch_tokens": 128, "shard_tokens": 256}
    return AtlasRecipe.from_mapping({"dictionary": str(run.path), "census": census})


def bytes_of(run: Run) -> dict[str, bytes]:
    found = (path for path in run.artifacts.rglob("*") if path.is_file())
    return {str(path.relative_to(run.artifacts)): path.read_bytes() for path in found}


def newest() -> Run:
    run = list_runs("runs")[-1].run
    assert run is not None
    return run


def test_the_newest_run_gets_an_atlas_and_a_report(user, capsys):
    assert main(["atlas", "build", "last", *SETS, "--json"]) == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report["status"] == "done"
    assert report["atlases"][NAME]["n_latents"] == 64
    assert report["census"]["n_tokens"] > 1400
    run = newest()
    assert report["run"] == str(run.path)
    assert Run.open(run.path).recipe_values["dictionary"] == str(user.path)


def test_a_table_says_what_was_built(user, capsys):
    assert main(["atlas", "build", "last", *SETS, "--documents", "held_out"]) == 0
    shown = capsys.readouterr()
    assert NAME in shown.out
    assert "tokens that count" in shown.out
    assert f"lmscope atlas show {newest().path} 0" in shown.err


def test_a_dry_run_writes_nothing(user, capsys):
    before = [entry.path for entry in list_runs("runs")]
    words = ["atlas", "build", str(user.path), "--tokens", "2M", "--dry-run", "--json"]
    assert main(words) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["tokens"] == 2_000_000
    assert plan["dictionaries"] == NAME
    assert plan["temporary_bytes"] == 2_000_000 * 4 * 8
    assert [entry.path for entry in list_runs("runs")] == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "There is nothing to build an atlas of"),
        (("nothing",), 1, "There is no run 'nothing'"),
        (("last", "--only", "resid_post"), 2, f"Did you mean {NAME}?"),
        (("last", "--model", "wide"), 1, "with 32 coordinates; in"),
        (("last", "--context-length", "100000"), 1, "and contexts of 100000 were asked for"),
        (("last", "--corpus", "absent.jsonl"), 1, "absent.jsonl"),
        (("last", "--set", "census.tokens=0"), 2, "'census.tokens' of the recipe is wrong"),
        (("recipe.toml",), 2, "is one of the job 'train'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_run(user, capsys, words, code, said):
    before = [entry.path for entry in list_runs("runs")]
    assert main(["atlas", "build", *words]) == code
    shown = capsys.readouterr()
    last = shown.err.splitlines()[-1]
    assert said in last, shown.err
    assert "defect" not in last
    assert [entry.path for entry in list_runs("runs")] == before


def test_a_stop_says_how_to_go_on(user, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lmscope.atlas.census.write_shard", stop)
        assert main(["atlas", "build", "last", *SETS]) == 130
    assert f"lmscope atlas build --resume {newest().path}" in capsys.readouterr().err
    assert main(["atlas", "build", "--resume", str(newest().path)]) == 0


@pytest.mark.parametrize("part", ["firings-0000000016", "census.sqlite", ".corpus."])
def test_a_full_disk_loses_nothing(user, tmp_path, monkeypatch, part):
    sync = files._sync

    def full(path):
        if part in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sync(path)

    whole = build_atlas(small_recipe(user), root=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        with pytest.raises(ArtifactError, match="The disk is full"):
            build_atlas(small_recipe(user), root=tmp_path / "full")
    if part == ".corpus.":  # nothing was made yet
        assert not list((tmp_path / "full").iterdir())
        return
    (folder,) = (tmp_path / "full").iterdir()
    assert Run.open(folder).status == "failed"
    again = build_atlas(small_recipe(user), resume=folder)
    assert bytes_of(again) == bytes_of(whole)


def stopped(recipe: AtlasRecipe, root, monkeypatch):
    """The folder of a run that ended when its census began."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lmscope.atlas.census.write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            build_atlas(recipe, root=root)
    (folder,) = root.iterdir()
    return folder


def test_a_dictionary_that_changed_since_is_refused(user, tmp_path, monkeypatch):
    recipe = small_recipe(user)
    folder = stopped(recipe, tmp_path / "stopped", monkeypatch)
    path = user.artifacts / "dictionaries" / NAME
    other = Dictionary.load(path)
    other.b_dec.data += 1
    path.rename(path.with_name(".old"))
    other.save(path)
    with pytest.raises(RunError, match=r"is another dictionary than when .* began"):
        build_atlas(recipe, resume=folder)


def test_a_model_that_changed_since_is_refused(user, desk, tmp_path, monkeypatch):
    recipe = small_recipe(user)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": "here"})})
    (desk / "here").symlink_to(desk / "model")
    folder = stopped(recipe, tmp_path / "stopped", monkeypatch)
    (desk / "here").unlink()
    (desk / "here").symlink_to(desk / "tuned")
    with pytest.raises(RunError, match=r"has other weights than when .* began"):
        build_atlas(recipe, resume=folder)


def test_a_damaged_corpus_is_found_when_a_run_goes_on(user, tmp_path, monkeypatch):
    recipe = small_recipe(user)
    folder = stopped(recipe, tmp_path / "stopped", monkeypatch)
    (tokens,) = folder.glob("artifacts/corpus/*/tokens.npy")
    content = bytearray(tokens.read_bytes())
    content[-1] ^= 1
    tokens.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"tokens\.npy' is damaged"):
        build_atlas(recipe, resume=folder)


def test_shards_that_do_not_cover_the_corpus_are_refused(user, tmp_path, monkeypatch):
    recipe = small_recipe(user)
    folder = stopped(recipe, tmp_path / "stopped", monkeypatch)
    monkeypatch.setattr("lmscope.jobs.atlas.CensusPass.spill", lambda *_, **__: None)
    with pytest.raises(ArtifactError, match="There are no firing shards"):
        build_atlas(recipe, resume=folder)


def test_a_model_without_the_site_is_refused(user):
    recipe = small_recipe(user)
    shallow = {"name": "wide", "device": "cpu"}
    with pytest.raises(ModelError, match="coordinates"):
        build_atlas(AtlasRecipe.from_mapping({**recipe.to_mapping(), "model": shallow}))
