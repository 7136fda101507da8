"""Geometry runs on dictionaries whose rows are known, and on trained ones."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lmscope.core.errors import ArtifactError, DataError, RecipeError
from lmscope.core.rng import generator
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.jobs.geometry import GeometryRecipe, geometry, plan_geometry
from lmscope.jobs.geometry_reports import folder_name, read_findings, tables
from lmscope.jobs.geometry_units import find_members, plan_units
from lmscope.jobs.train import train
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

WIDTH = 16
SMALL = {"null_rows": 64, "exact_assignment": 40, "n_neighbours": 3}


def rows(n, *name):
    return torch.randn(n, WIDTH, generator=generator(0, *name))


def save(path, decoder, site="resid_post@3", *, k=4, writes=None, model_hash="h", encoder=None):
    """A dictionary with given rows at PATH."""
    n, width = decoder.shape
    config = DictionaryConfig(
        reads=(site,),
        writes=(writes or site,),
        d_read=width,
        d_write=width,
        n_latents=n,
        sparsity=TopK(k=k),
        model_hash=model_hash,
    )
    tensors = Dictionary(config).state_dict() | {
        "W_dec": decoder,
        "W_enc": decoder if encoder is None else encoder,
    }
    Dictionary.from_tensors(config, tensors).save(path)
    return str(path)


def save_latents(folder, n_fired):
    """Beside a dictionary of a run, what its latents did."""
    path = folder.parents[1] / "health" / folder.name / "latents.safetensors"
    n_fired = torch.tensor(n_fired)
    floats = torch.ones(len(n_fired))
    LatentStatistics(n_fired, n_fired.double() / 1000, floats.double(), floats).save(path)


def wanted(*paths, analyses=(), **options):
    return GeometryRecipe.from_mapping(
        {
            "dictionaries": [str(path) for path in paths],
            "analyses": list(analyses),
            "device": "cpu",
            "options": {**SMALL, **options},
        }
    )


@pytest.fixture
def shelf_of_three(tmp_path):
    """`narrow` and `wide` (its rows and as many new ones) at one site, `above` at another."""
    narrow = rows(30)
    wide = torch.cat([narrow, rows(30, "new")])[torch.randperm(60, generator=generator(1))]
    return [
        save(tmp_path / "narrow", narrow),
        save(tmp_path / "wide", wide),
        save(tmp_path / "above", rows(30, "above"), "resid_post@4"),
    ]


def units_of(paths, analyses=(), **options):
    recipe = wanted(*paths, analyses=analyses, **options)
    units = plan_units(find_members(recipe.dictionaries), recipe.analyses, recipe.options)
    return [(unit.analysis, [member.name for member in unit.members]) for unit in units]


def test_every_pair_that_makes_sense_is_compared(shelf_of_three):
    assert units_of(shelf_of_three) == [
        ("splitting", ["narrow", "wide"]),
        ("matching", ["narrow", "wide"]),
        ("layers", ["narrow", "above"]),
        ("neighbours", ["narrow"]),
        ("neighbours", ["wide"]),
        ("neighbours", ["above"]),
        ("statistics", ["narrow"]),
        ("statistics", ["wide"]),
        ("statistics", ["above"]),
        ("map", ["narrow", "wide"]),
        ("map", ["above"]),
    ]


def test_widths_are_compared_at_equal_sparsity_where_they_can(tmp_path):
    paths = [
        save(tmp_path / f"{n}-{k}", rows(n, k), k=k)
        for n, k in ((20, 2), (20, 4), (40, 2), (40, 4))
    ]
    found = units_of(paths, ["splitting"])
    assert found == [("splitting", ["20-2", "40-2"]), ("splitting", ["20-4", "40-4"])]
    pairs = [members for analysis, members in units_of(paths, ["matching"])]
    assert pairs[2:] == [["20-2", "20-4"], ["40-2", "40-4"]]
    assert units_of([paths[0], paths[3]], ["splitting"]) == [("splitting", ["20-2", "40-4"])]


def test_a_transcoder_shares_a_map_with_the_sae_of_the_site_that_it_writes(tmp_path):
    sae = save(tmp_path / "sae", rows(20), "mlp_out@3")
    transcoder = save(tmp_path / "tc", rows(20, "tc"), "mlp_in@3", writes="mlp_out@3")
    assert units_of([sae, transcoder], ["map"]) == [("map", ["sae", "tc"])]
    assert units_of([sae, transcoder], ["map"], rows="encoder") == [
        ("map", ["sae"]),
        ("map", ["tc"]),
    ]
    assert units_of([sae, transcoder], ["matching"]) == [("layers", ["sae", "tc"])]


def test_the_new_half_of_a_wide_dictionary_is_found(shelf_of_three, tmp_path):
    run = geometry(wanted(*shelf_of_three[:2]), root=tmp_path / "runs")
    assert run.status == "done"
    found = read_findings(run)
    assert list(found) == ["splitting", "matching", "neighbours", "statistics", "map"]
    (report,) = found["splitting"].values()
    assert (report.narrow, report.wide) == ("narrow", "wide")
    assert report.shares.new == pytest.approx(0.5, abs=0.05)
    assert report.shares.lost == 0
    assert report.shares_null.new > 0.9
    (matching,) = found["matching"].values()
    assert matching.a_in_b.mean_max_cosine == pytest.approx(1, abs=1e-5)
    assert matching.one_to_one.method == "greedy"
    assert matching.same_model is True
    folder = run.artifacts / "geometry" / "splitting" / "narrow.with.wide"
    arrays = load_file(folder / "arrays.safetensors")
    narrow, wide = (Dictionary.load(path).W_dec for path in shelf_of_three[:2])
    old = ~arrays["wide.is_new"].bool() & (arrays["wide.cosine"] > 0.999)
    assert old.sum() == 30
    torch.testing.assert_close(wide[arrays["wide.latent"][old]], narrow[arrays["wide.parent"][old]])
    assert sum(e["event"] == "result" for e in run.events()) == 7
    assert (run.artifacts / "plots" / "splitting-narrow.with.wide.png").exists()
    written = json.loads((folder / "report.json").read_text())
    assert written["definitions"]["shares.new"].startswith("Wide latents whose cosine")
    json.dumps(report.headline())


def test_latents_that_never_fired_are_left_out_unless_they_are_kept(tmp_path):
    folder = tmp_path / "run" / "artifacts" / "dictionaries"
    narrow, dead = rows(20), rows(10, "dead")
    save(folder / "narrow", narrow)
    save(folder / "wide", torch.cat([dead, narrow]))
    save_latents(folder / "wide", [0] * 10 + [5] * 20)
    path = tmp_path / "run"
    share, runs = {}, {}
    for dead_latents in ("leave_out", "keep"):
        recipe = wanted(path, analyses=["splitting", "statistics", "map"], dead=dead_latents)
        runs[dead_latents] = run = geometry(recipe, root=tmp_path / dead_latents)
        (report,) = read_findings(run)["splitting"].values()
        share[dead_latents] = report.n_wide, report.shares.new
    assert share["leave_out"] == (20, 0.0)
    assert share["keep"][0] == 30
    assert share["keep"][1] > 0.2
    statistics = read_findings(run)["statistics"]["wide"]
    assert statistics.frequencies.inactive_share == pytest.approx(1 / 3)
    assert read_findings(run)["statistics"]["narrow"].frequencies is None
    # The numbers are those of the dictionary, not of the latents that are left.
    folder = runs["leave_out"].artifacts / "geometry" / "splitting" / "narrow.with.wide"
    arrays = load_file(folder / "arrays.safetensors")
    assert arrays["wide.latent"].tolist() == list(range(10, 30))


def test_encoder_rows_are_compared_when_they_are_asked_for(tmp_path):
    a = save(tmp_path / "a", rows(20), encoder=rows(20, "encoder"))
    b = save(tmp_path / "b", rows(20, "b"), encoder=rows(20, "encoder"))
    found = {}
    for which in ("decoder", "encoder"):
        run = geometry(wanted(a, b, analyses=["matching"], rows=which), root=tmp_path / which)
        (report,) = read_findings(run)["matching"].values()
        found[which] = report.a_in_b.mean_max_cosine
    assert found["encoder"] == pytest.approx(1, abs=1e-5)
    assert found["decoder"] < 0.9


def test_layers_are_a_matrix_with_ones_on_its_diagonal(shelf_of_three, tmp_path):
    run = geometry(wanted(*shelf_of_three, analyses=["matching"]), root=tmp_path / "runs")
    (report,) = read_findings(run)["layers"].values()
    matrix = torch.tensor(report.mean_max_cosine)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(2))
    null = torch.tensor(report.mean_max_cosine_null)
    torch.testing.assert_close(
        matrix.fill_diagonal_(0.5), null.fill_diagonal_(0.5), atol=0.1, rtol=0
    )
    (shown,) = tables("layers", {"x": report})
    assert shown.columns == ("", "dictionary", "1", "2")


def test_trained_dictionaries_of_two_seeds_are_told_apart(recipe, trained, tmp_path):
    other = train(recipe(seed=5, **{"training.steps": 5}), root=tmp_path / "train")
    run = geometry(wanted(trained.path, other.path), root=tmp_path / "runs")
    found = read_findings(run)
    (report,) = found["matching"].values()
    assert report.a.startswith(trained.path.name)
    assert report.b.startswith(other.path.name)
    assert report.same_model is True
    assert [r.frequencies.n_tokens > 0 for r in found["statistics"].values()] == [True, True]
    assert [r.norms.rows for r in found["statistics"].values()] == ["encoder", "encoder"]


def test_an_interrupted_comparison_makes_only_what_is_left(shelf_of_three, tmp_path, stop_at):
    asked = wanted(*shelf_of_three, analyses=["matching", "neighbours"])
    root = tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt):
        geometry(asked, root=root, listeners=[stop_at(event="result")])
    (entry,) = list_runs(root)
    assert entry.run.status == "interrupted"
    resumed = geometry(asked, root=root, resume=entry.path)
    names = [e["name"] for e in resumed.events() if e["event"] == "result"]
    assert len(names) == len(set(names)) == 5
    whole = geometry(asked, root=tmp_path / "whole")
    assert read_findings(whole) == read_findings(Run.open(entry.path))


def test_a_plan_names_every_comparison_and_writes_nothing(shelf_of_three, tmp_path):
    plan = plan_geometry(wanted(*shelf_of_three)).values
    assert plan["splitting"] == "narrow.with.wide"
    assert plan["n_comparisons"] == 11
    assert plan["gflop"] == pytest.approx(0.0, abs=0.1)
    assert plan["block_memory_mib"] == 64
    assert not (tmp_path / "runs").exists()


def test_names_that_are_too_long_for_a_folder_are_cut_and_stay_apart():
    a, b = ["x" * 150, "y" * 150], ["x" * 150, "z" * 150]
    assert len(folder_name(a)) < 200
    assert folder_name(a) != folder_name(b)
    assert folder_name(["a", "b"]) == "a.with.b"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"dictionaries": []}, RecipeError, "There is nothing to compare"),
        ({"dictionaries": ["{0}", "{0}"]}, RecipeError, "is given twice"),
        ({"dictionaries": ["absent"]}, ArtifactError, "'absent' holds no dictionary"),
        (
            {"analyses": ["splitting"]},
            RecipeError,
            "'splitting' needs two dictionaries of one site with different numbers of latents; "
            "there is: alone.",
        ),
        ({"analyses": ["matching"]}, RecipeError, "'matching' needs two dictionaries"),
        ({"device": "gpu7"}, RecipeError, "The device 'gpu7' cannot be used here"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_no_run(tmp_path, change, error, said):
    alone = save(tmp_path / "alone", rows(10))
    values = {"dictionaries": ["{0}"], "device": "cpu", **change}
    values["dictionaries"] = [text.format(alone) for text in values["dictionaries"]]
    with pytest.raises(error, match=said):
        geometry(GeometryRecipe.from_mapping(values), root=tmp_path / "runs")
    assert list_runs(tmp_path / "runs") == ()


def test_statistics_of_another_dictionary_are_refused(tmp_path):
    folder = tmp_path / "run" / "artifacts" / "dictionaries"
    save(folder / "a", rows(10))
    save_latents(folder / "a", [1] * 9)
    with pytest.raises(ArtifactError, match=r"describes 9 latents, .* has 10"):
        geometry(wanted(tmp_path / "run"), root=tmp_path / "runs")


def test_a_dictionary_that_is_all_dead_is_refused(tmp_path):
    folder = tmp_path / "run" / "artifacts" / "dictionaries"
    save(folder / "a", rows(10))
    save_latents(folder / "a", [0] * 10)
    with pytest.raises(DataError, match="No latent of 'a' fired"):
        geometry(wanted(tmp_path / "run"), root=tmp_path / "runs")
