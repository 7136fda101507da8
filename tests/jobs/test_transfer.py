import json
from dataclasses import dataclass, field

import pytest

from lmscope.cli.main import main
from lmscope.core.errors import DataError, ModelError, RecipeError
from lmscope.jobs.evaluate import EvaluateRecipe, evaluate, evaluation_task, plan_evaluation
from lmscope.jobs.reports import read_health
from lmscope.jobs.transfer_files import positions_table, read_transfer, transfer_table
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

NAME = "resid_post-1-64-topk-4"


def wanted(trained, **keys):
    transfer = keys.pop("transfer", None)
    return EvaluateRecipe.from_mapping(
        {"dictionary": str(trained.path), **keys, **({"transfer": transfer} if transfer else {})}
    )


def table_of(run):
    return read_transfer(run.artifacts / "transfer" / NAME)


@dataclass(frozen=True)
class Table:
    """A finished transfer run: home, longer contexts, another model."""

    run: Run
    rows: tuple = field(default=())


@pytest.fixture(scope="module")
def table(trained, shelf, tmp_path_factory):
    choice = {"context_lengths": [64], "models": [str(shelf / "tuned")]}
    run = evaluate(wanted(trained, transfer=choice), root=tmp_path_factory.mktemp("transfer"))
    return Table(run, table_of(run).rows)


def test_home_comes_first_and_each_condition_once(table):
    assert [(row.context_length, row.model.endswith("tuned")) for row in table.rows] == [
        (32, False), (64, False), (32, True), (64, True),
    ]  # fmt: skip


def test_the_home_row_is_what_a_plain_evaluation_gives_bit_for_bit(table, trained):
    kept = json.loads((table.run.artifacts / "conditions" / NAME / "00/report.json").read_text())
    plain = read_health(trained.artifacts / "health" / NAME)
    assert kept == plain.to_mapping()
    assert table.rows[0].figures["explained_variance_centred"] == (
        plain.reconstruction.explained_variance_centred
    )
    assert table.rows[0].figures["kl"] == plain.loss.kl


def test_every_row_has_the_same_tokens(table):
    assert [row.n_contexts * row.context_length for row in table.rows] == [1024] * 4


def test_longer_contexts_are_paired_with_home(table):
    row = table.rows[1]
    assert all(contrast.paired for contrast in row.differences.values())
    assert row.differences["normalised_mse"].n == 16, "stretches of 64 tokens"
    assert row.positions[-1].last == 63


def test_another_model_gives_other_figures_and_both_weights_are_named(table, trained):
    own, other = table.rows[0], table.rows[2]
    assert other.model_hash != own.model_hash
    assert other.differences["explained_variance_centred"].high < 0
    assert other.differences["explained_variance_centred"].paired
    report = table_of(table.run)
    assert report.trained_on.model_hash == own.model_hash
    assert own.notes == ()
    assert own.model_hash[:12] in other.notes[0]
    assert other.model_hash[:12] in other.notes[0]
    caption = transfer_table(report).caption
    assert own.model_hash[:12] in caption
    assert other.model_hash[:12] in caption
    assert set(table.run.record.weights.values()) == {own.model_hash, other.model_hash}


def test_the_tables_show_every_condition_and_position(table):
    report = table_of(table.run)
    blocks = [row for row in transfer_table(report).rows if row[0] == "explained variance, centred"]
    assert len(blocks) == 1, "a figure is named once"
    dead = transfer_table(report).rows[-4:]
    assert [(row[0], row[2]) for row in dead] == [
        ("latents that never fire", 32), ("", 64), ("", 32), ("", 64),
    ]  # fmt: skip
    assert positions_table(report).rows[-1][2] == 64
    assert (table.run.artifacts / "plots" / f"positions-{NAME}.png").stat().st_size > 1000


def test_a_resumed_table_measures_only_the_rows_that_are_left(
    trained, table, shelf, tmp_path, stop_at
):
    choice = {"context_lengths": [64], "models": [str(shelf / "tuned")]}
    asked = wanted(trained, transfer=choice)
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, root=tmp_path, listeners=[stop_at(event="result")])
    (entry,) = list_runs(tmp_path)
    resumed = evaluate(asked, root=tmp_path, resume=entry.path)
    measured = [e["name"] for e in resumed.events() if e["event"] == "result"]
    assert len(measured) == len(set(measured)) == 4
    assert table_of(resumed) == table_of(table.run)


def test_contexts_within_documents_are_other_contexts(trained, tmp_path):
    choice = {"context_lengths": [64], "within_documents": True}
    run = evaluate(wanted(trained, transfer=choice), root=tmp_path)
    assert table_of(run).within_documents
    packed = read_health(trained.artifacts / "health" / NAME).subject
    assert {row.n_contexts for row in table_of(run).rows} == {32, 16}
    kept = json.loads((run.artifacts / "conditions" / NAME / "00/report.json").read_text())
    assert kept["subject"]["text"] != packed.text


def test_no_document_as_long_as_a_context_is_an_error(trained, tmp_path):
    text = tmp_path / "short.jsonl"
    lines = [json.dumps({"text": f"{n:02d}" + "text of a few letters" * 2}) for n in range(60)]
    text.write_text("\n".join(lines), encoding="utf-8")
    choice = {"context_lengths": [128], "within_documents": True}
    asked = wanted(trained, text={"source": str(text)}, transfer=choice)
    with pytest.raises(DataError, match="contexts of 128 tokens lies within one document"):
        evaluate(asked, root=tmp_path / "runs")


def test_a_model_with_other_layers_is_refused_before_anything_is_measured(
    trained, shelf, tmp_path, deep
):
    with pytest.raises(ModelError, match="is llama with 4 layers of width 32, but"):
        evaluate(wanted(trained, transfer={"models": [str(deep)]}), root=tmp_path)
    assert list_runs(tmp_path) == ()


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    from lmscope.models.miniature import miniature

    folder = tmp_path_factory.mktemp("deep") / "deep"
    model = miniature("llama", num_hidden_layers=4)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_contexts_beyond_the_models_positions_are_refused(trained, tmp_path):
    with pytest.raises(ModelError, match=r"has positions for \d+ tokens, and contexts of 9999999"):
        evaluate(wanted(trained, transfer={"context_lengths": [9999999]}), root=tmp_path)
    with pytest.raises(ModelError, match="and contexts of 9999999"):
        evaluate(wanted(trained, text={"context_length": 9999999}), root=tmp_path)
    assert list_runs(tmp_path) == ()


def test_a_table_of_nothing_but_home_is_refused(trained):
    with pytest.raises(RecipeError, match="nothing to compare with home"):
        wanted(trained, transfer={"within_documents": True})


def test_the_plan_lists_the_rows(trained):
    plan = plan_evaluation(wanted(trained, transfer={"context_lengths": [64, 32]})).values
    assert plan["row_0"].endswith("on contexts of 32 (home)")
    assert plan["row_1"].endswith("on contexts of 64")
    assert "row_2" not in plan


def test_amounts_are_those_of_the_training_run_unless_given(trained):
    same = evaluation_task(wanted(trained)).evaluation
    assert same.to_mapping() == trained.recipe_values["evaluation"]
    other = evaluation_task(wanted(trained, evaluation={"bootstrap": {"confidence": 0.9}}))
    assert other.evaluation.bootstrap.n_resamples == 50, "what is not given stays"
    assert other.evaluation.bootstrap.confidence == 0.9
    longer = evaluation_task(wanted(trained, text={"context_length": 128})).evaluation
    assert (same.batch_contexts, longer.batch_contexts) == (8, 2)


@pytest.mark.parametrize("option", ["--context-lengths 64", "--models a", "--within-documents"])
def test_options_of_the_table_need_it(option, trained, capsys):
    assert main(["evaluate", str(trained.path), *option.split()]) == 2
    assert f"{option.split()[0]} is of the table of conditions" in capsys.readouterr().err


def test_the_command_prints_the_tables(trained, tmp_path, capsys):
    words = ["evaluate", str(trained.path), "--transfer", "--context-lengths", "64"]
    assert main([*words, "--runs-dir", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["transfer"][NAME]["rows"]
    assert [row["context_length"] for row in rows] == [32, 64]
    assert main([*words[:3], "--context-lengths", "x"]) == 2
    assert "'x' is not a count" in capsys.readouterr().err
