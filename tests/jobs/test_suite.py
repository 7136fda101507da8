"""A suite in groups: the same dictionaries as in one group, resumed exactly, with a table of them all."""

import json

import pytest

from lmscope.cli.main import main
from lmscope.core.errors import ArtifactError, RecipeError, RunError
from lmscope.jobs import train as train_module
from lmscope.jobs.dictionary_choice import wanted_dictionaries
from lmscope.jobs.memory import MemoryModel, Text
from lmscope.jobs.reports import read_health
from lmscope.jobs.suite import read_suite, suite_table
from lmscope.jobs.train import TrainRecipe, train
from lmscope.models.miniature import miniature
from lmscope.runs.run import Run

SIX = {
    "dictionary.sites": ["resid_post@*"],
    "dictionary.transcoders": [["mlp_norm@*", "mlp_out@*"]],
    "dictionary.n_latents": [48],
    "training.steps": 20,
    "evaluation.tokens": 256,
    "evaluation.scored_tokens": 64,
    "evaluation.baseline_tokens": 0,
}
"""Two dictionaries in each of three layers."""
STEPS = 20


@pytest.fixture(scope="module")
def two_at_once():
    """Memory in which two of the six fit, and not three."""

    def two_at_once(wanted: TrainRecipe) -> int:
        model = miniature("llama")
        configs = [one.config for one in wanted_dictionaries(wanted.dictionary, model).values()]
        needs = MemoryModel(model, Text(272, 32), wanted.stream, wanted.evaluation)
        layers = [[configs[i], configs[3 + i]] for i in range(3)]
        two = max(needs.of(layer).peak for layer in layers)
        assert needs.of([*layers[0], configs[1]]).peak > two
        return two

    return two_at_once


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """The six in one group."""
    return train(recipe(**SIX), root=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def grouped(recipe, two_at_once, tmp_path_factory):
    """The six in three groups."""
    wanted = recipe(**SIX)
    return train(wanted, root=tmp_path_factory.mktemp("grouped"), memory_bytes=two_at_once(wanted))


def artifacts(content, run):
    return {name: files for name, files in content(run).items() if name.startswith("artifacts/")}


def groups_of(run):
    (*_, told) = (event for event in run.events() if event["event"] == "groups")
    return [group["names"] for group in told["groups"]]


def test_three_groups_give_what_one_group_gives_bit_for_bit(whole, grouped, content):
    assert [len(names) for names in groups_of(whole)] == [6]
    assert groups_of(grouped) == [
        [f"resid_post-{i}-48-topk-4", f"mlp_norm-{i}.to.mlp_out-{i}-48-topk-4"] for i in range(3)
    ]
    found = artifacts(content, grouped)
    assert found == artifacts(content, whole)
    assert len(found) == 12, "six dictionaries and six reports"


def test_steps_of_later_groups_come_after_those_of_earlier_ones(grouped):
    rows = grouped.metrics_rows()
    assert [row["step"] for row in rows] == [1, 10, 20, 21, 30, 40, 41, 50, 60]
    assert "resid_post-1-48-topk-4/loss" in rows[3]


def test_a_finished_group_leaves_no_checkpoints_behind(whole, grouped):
    assert list(grouped.checkpoints.iterdir()) == []
    assert [path.name for path in whole.checkpoints.iterdir()] == [f"step-{STEPS:08d}"]


def _stopped(recipe, root, memory, stop):
    with pytest.raises(KeyboardInterrupt):
        train(recipe, root=root, memory_bytes=memory, listeners=[stop])
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    return Run.open(folder)


@pytest.mark.parametrize("step", [27, 40], ids=["in-group-2", "at-its-end"])
def test_interrupted_in_group_2_and_resumed_equals_uninterrupted(
    recipe, two_at_once, tmp_path, stop_at, content, grouped, step
):
    wanted = recipe(**SIX)
    memory = two_at_once(wanted)
    half = _stopped(wanted, tmp_path, memory, stop_at(step))
    assert [path.name for path in half.checkpoints.iterdir()] == ["group-02"]
    first = groups_of(half)[0]
    saved = [half.artifacts / kind / name for name in first for kind in ("dictionaries", "health")]
    times = [path.stat().st_mtime_ns for path in saved]
    resumed = train(wanted, root=tmp_path, resume=half.path)
    assert groups_of(resumed) == groups_of(grouped), "without --memory a run keeps its groups"
    assert content(resumed) == content(grouped)
    assert [path.stat().st_mtime_ns for path in saved] == times, "they are not touched again"


def test_a_resume_with_other_memory_regroups_only_what_has_not_begun(
    recipe, two_at_once, tmp_path, stop_at, content, grouped
):
    wanted = recipe(**{**SIX, "training.checkpoint.every_steps": 5})
    half = _stopped(wanted, tmp_path, two_at_once(wanted), stop_at(8))
    before = groups_of(half)
    resumed = train(wanted, root=tmp_path, resume=half.path, memory_bytes=2**40)
    assert groups_of(resumed) == [before[0], [*_of("resid_post", before), *_of("mlp_norm", before)]]
    assert artifacts(content, resumed) == artifacts(content, grouped)


def _of(part, groups):
    return [name for group in groups[1:] for name in group if name.startswith(part)]


def test_the_table_has_one_row_a_dictionary_that_agrees_with_its_report(grouped):
    rows = read_suite(grouped.path)
    assert [row.group for row in rows] == [1, 1, 2, 2, 3, 3]
    assert {row.status for row in rows} == {"measured"}
    for row in rows:
        figures = grouped.results()[row.name]
        assert row.l0 == figures["l0"]
        assert row.explained_variance_centred == figures["explained_variance_centred"]
        assert row.ce_recovered_zero == figures["ce_recovered_zero"]
        assert row.n_tokens == STEPS * 32
        assert row.train_hours is not None
        assert row.train_hours > 0
    table = suite_table(rows)
    assert table.caption == "6 dictionaries: 6 measured"
    assert len(table.rows) == 6


def test_the_table_grows_while_the_run_goes_on(recipe, two_at_once, tmp_path, stop_at):
    wanted = recipe(**SIX)
    half = _stopped(wanted, tmp_path, two_at_once(wanted), stop_at(27))
    states = [row.status for row in read_suite(half.path)]
    assert states == ["measured"] * 2 + ["waiting"] * 4


def test_show_and_json_hold_the_table(grouped, capsys):
    assert main(["runs", "show", str(grouped.path)]) == 0
    shown = capsys.readouterr().out
    assert "6 dictionaries: 6 measured" in shown
    assert main(["runs", "show", str(grouped.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["suite"]] == [r.name for r in read_suite(grouped.path)]


def test_a_single_dictionary_has_no_table(trained):
    assert read_suite(trained.path) == []


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "suite.json").write_text('{"format": 1, "dict', encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"suite.json' is damaged"):
        read_suite(tmp_path)
    (tmp_path / "artifacts" / "suite.json").write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="has format 2, this lmscope reads 1"):
        read_suite(tmp_path)


def test_without_baselines_the_ends_that_need_none_are_still_measured(grouped):
    report = read_health(grouped.artifacts / "health" / "resid_post-0-48-topk-4")
    assert list(report.baselines) == ["identity"]
    assert report.ablation.ce_zero is not None
    assert report.ablation.ce_mean is None


def test_a_group_that_fails_does_not_keep_the_others_from_being_trained(
    recipe, two_at_once, tmp_path, monkeypatch, content, grouped
):
    wanted = recipe(**SIX)
    fit = train_module.fit

    def failing(objectives, *args, **options):
        if "resid_post-1" in objectives[0].name:
            raise RunError("The loss is not a finite number.")
        return fit(objectives, *args, **options)

    monkeypatch.setattr(train_module, "fit", failing)
    with pytest.raises(RunError, match=r"2 of 6 dictionaries were not finished.*group 2 of 3: The"):
        train(wanted, root=tmp_path, memory_bytes=two_at_once(wanted))
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    rows = read_suite(folder)
    assert [row.status for row in rows] == ["measured"] * 2 + ["failed"] * 2 + ["measured"] * 2
    assert rows[2].problem == "The loss is not a finite number."
    monkeypatch.setattr(train_module, "fit", fit)
    resumed = train(wanted, root=tmp_path, resume=folder)
    assert artifacts(content, resumed) == artifacts(content, grouped)
    assert {row.status for row in read_suite(folder)} == {"measured"}
    steps = [row["step"] for row in resumed.metrics_rows()]
    assert sorted(steps) == [row["step"] for row in grouped.metrics_rows()]


def test_each_width_has_its_own_tokens(values, tmp_path):
    changes = {
        **SIX,
        "dictionary.sites": ["resid_post@1"],
        "dictionary.transcoders": [],
        "dictionary.n_latents": [40],
        "dictionary.expansions": [2, 3],
        "dictionary.tokens": [320, 640, 320],
        "evaluation.tokens": 0,
    }
    found = values(**changes)
    del found["training"]["steps"]
    run = train(TrainRecipe.from_mapping(found), root=tmp_path)
    rows = {row.n_latents: (row.n_tokens, row.group, row.status) for row in read_suite(run.path)}
    assert rows == {40: (320, 1, "trained"), 64: (640, 2, "trained"), 96: (320, 1, "trained")}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dictionary.tokens": [640]}, "both say how long to train"),
        ({"dictionary.tokens": [640, 640]}, "has 2 budgets for 1 widths"),
        (
            {"dictionary.n_latents": [], "dictionary.expansions": []},
            "The dictionaries have no width",
        ),
    ],
)
def test_widths_and_budgets_that_contradict_are_refused(recipe, changes, said):
    with pytest.raises(RecipeError, match=said):
        recipe(**{**SIX, **changes})


def test_nothing_fits_is_one_sentence_and_no_run(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"alone takes .* GiB and 0.00 GiB may be used"):
        train(recipe(**SIX), root=tmp_path, memory_bytes=1000)
    assert list(tmp_path.iterdir()) == []
