import json

import pytest

from lmscope.cli.main import main
from lmscope.core.errors import RecipeError
from lmscope.dictionaries.config import DictionaryConfig, KAnnealing, ReLU, TopK
from lmscope.jobs.choices import EvaluationChoice
from lmscope.jobs.plan import Machine, plan_training
from lmscope.jobs.train import TrainRecipe
from lmscope.jobs.work import EFFICIENCY, Rate, Work, group_work, rate_of, step_flops
from lmscope.models.miniature import miniature
from lmscope.models.skeleton import forward_flops

FAST = Machine(memory_bytes=80 * 2**30, devices=64, device_tflops=400.0)


@pytest.fixture
def nothing_at_hand(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.fixture
def llama(nothing_at_hand):
    return TrainRecipe.load("scope-llama-3.1-8b")


def _config(sparsity, writes="resid_post@0", **changes):
    return DictionaryConfig(
        reads=("resid_post@0",),
        writes=(writes,),
        d_read=10,
        d_write=10,
        n_latents=100,
        sparsity=sparsity,
        **changes,
    )


def test_the_work_of_a_step_is_the_encode_and_what_is_kept():
    # Encode 2 x 10 x 100; each of 3 latents: decode, value's and decoder row's gradient, 2 x 10 each,
    # and the encoder row's, 2 x 10.
    assert step_flops(_config(TopK(k=3))) == 2000 + 3 * 80
    # Dense: five products of 10 x 100.
    assert step_flops(_config(ReLU())) == 5 * 2000
    # A linear path of 10 x 10, forth and back.
    assert step_flops(_config(ReLU(), "mlp_out@0", skip=True)) == 5 * 2000 + 400


def test_hours_are_work_over_rate_devices_and_efficiency():
    work = Work(forward=3.6e15, dictionaries=7.2e15, busiest=3.6e15, evaluation=0.0)
    # Two devices share the forward pass; the busiest has half of the dictionaries: 0.5 h + 1 h at 1 TFLOP/s.
    assert work.hours(Rate(1e12, 1e12, "given"), 2) == pytest.approx(1.5 / EFFICIENCY)


def test_a_group_reads_up_to_its_deepest_site_once():
    model = miniature("llama")
    configs = [
        DictionaryConfig(reads=(s,), writes=(s,), d_read=32, d_write=32, n_latents=64)
        for s in ("resid_post@0", "mlp_out@1")
    ]
    none = EvaluationChoice(tokens=0, baseline_tokens=0)
    work = group_work(
        model, configs, n_tokens=200, n_read_tokens=100, context_length=32, evaluation=none
    )
    assert work.forward == 100 * forward_flops(model, configs[1].write_site, 32)
    assert work.dictionaries == work.busiest == 200 * sum(map(step_flops, configs))


def test_a_rate_is_given_or_assumed_or_measured():
    import torch

    assert rate_of(2.0, None, torch.float32) == Rate(2e12, 2e12, "given")
    assert rate_of(None, None, torch.float32).source == "assumed"
    measured = rate_of(None, torch.device("cpu"), torch.float32)
    assert measured.source == "measured"
    assert measured.model > 0


def test_the_plan_of_llama_scope_has_all_256_dictionaries(llama):
    plan = plan_training(llama, FAST).to_mapping()
    assert plan["n_dictionaries"] == len(plan["dictionaries"]) == 256
    # 8x: 32,768 x (4096 + 4096 + 1) + 4096; 32x likewise; 128 of each.
    assert plan["n_parameters"] == 128 * (268_472_320 + 1_073_876_992)
    assert plan["fits"]
    assert plan["needed_memory_gib"] <= 80
    by_steps = {row["steps"]: 0 for row in plan["groups"]}
    for row in plan["groups"]:
        by_steps[row["steps"]] += row["n_dictionaries"]
    # 800M and 1.6B tokens in batches of 2,048.
    assert by_steps == {390_625: 128, 781_250: 128}
    assert (plan["devices"], plan["device_tflops"], plan["device_tflops_are"]) == (
        64,
        400.0,
        "given",
    )
    assert plan["expected_hours"] > 0
    assert not plan["text_is_counted"]
    # Float32 weights of all dictionaries.
    assert plan["disk_dictionaries_gib"] == pytest.approx(
        plan["n_parameters"] * 4 / 2**30, abs=0.01
    )
    memory = {row["of_one_device"]: row["bytes"] for row in plan["memory"]}
    assert memory["model"] == 2 * 8_030_261_248
    assert memory["moments"] == 2 * memory["gradients"] == 2 * memory["parameters"]


def test_less_memory_gives_more_groups_and_too_little_says_what_to_change(llama):
    tight = Machine(memory_bytes=40 * 2**30, devices=64, device_tflops=400.0)
    some, many = (plan_training(llama, m).values["n_groups"] for m in (FAST, tight))
    assert many > some
    none = plan_training(llama, Machine(memory_bytes=8 * 2**30, devices=64, device_tflops=400.0))
    assert not none.values["fits"]
    assert "most of it is for" in str(none.values["what_to_change"])


def test_a_latent_axis_halves_what_a_dictionary_takes(llama):
    machine = Machine(80 * 2**30, 2, 400.0, "site=1,data=1,latent=2")
    alone = Machine(80 * 2**30, 1, 400.0)
    halves, whole = (plan_training(llama, one) for one in (machine, alone))
    assert halves.values["n_groups"] < whole.values["n_groups"]


def test_streams_and_latents_must_be_shared_evenly(llama):
    with pytest.raises(RecipeError, match="64 text streams cannot be shared by 3 processes"):
        plan_training(llama, Machine(devices=3, memory_bytes=80 * 2**30))
    widths = {"expansions": None, "tokens": None, "n_latents": (99,)}
    odd = llama.model_copy(update={"dictionary": llama.dictionary.model_copy(update=widths)})
    with pytest.raises(RecipeError, match="99 latents cannot be shared by 2 processes"):
        plan_training(odd, Machine(devices=2, mesh="latent=2", memory_bytes=80 * 2**30))


def test_text_that_is_not_counted_needs_a_number_from_the_recipe(nothing_at_hand):
    values = {"model": {"name": "gpt2"}, "dictionary": {"sites": ["resid_post@1"]}}
    with pytest.raises(
        RecipeError, match=r"give text.max_tokens, training.steps or dictionary.tokens"
    ):
        plan_training(TrainRecipe.from_mapping(values))
    counted = {**values, "text": {"max_tokens": 1_000_000}, "training": {"steps": 7}}
    assert plan_training(TrainRecipe.from_mapping(counted)).values["n_steps"] == 7


def test_the_command_prints_tables_and_one_json_object(nothing_at_hand, capsys):
    words = ["train", "scope-llama-3.1-8b", "--dry-run", "--devices", "64", "--memory", "80GiB"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for part in ("n_dictionaries", "expected_hours", "\nshapes\n", "\ngroups\n", "\nmemory\n"):
        assert part in shown
    assert len(shown.splitlines()) < 80, "256 dictionaries are not listed one by one"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_dictionaries"] == 256


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--devices", "4"], "--devices only plans for other machines: add --dry-run"),
        (["--mesh", "data=2"], "start them with torchrun --nproc-per-node 2"),
        (["--dry-run", "--devices", "0"], "--devices must be above 0; 0 was given."),
        (["--dry-run", "--devices", "4", "--mesh", "data=3"], "cannot be made of 4 devices"),
        (["--memory", "20 apples"], "'20 apples' is no amount of memory; write it like 20GiB"),
    ],
)
def test_wrong_options_are_one_sentence(desk, capsys, words, said):
    assert main(["train", "recipe.toml", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (desk / "runs").exists()


def test_an_unknown_recipe_is_named_with_the_near_ones(capsys):
    assert main(["train", "scope-smolm2", "--dry-run"]) == 2
    assert "No recipe is called 'scope-smolm2'" in (said := capsys.readouterr().err)
    assert "scope-smollm2" in said


def test_a_small_suite_lists_its_dictionaries_and_its_annealing_counts(recipe):
    off = TopK(k=4, annealing=KAnnealing(style="off")).to_mapping()
    plan = plan_training(recipe(**{"dictionary.sparsity": [off], "dictionary.n_latents": [32, 48]}))
    assert [table.caption for table in plan.shown_tables()] == ["dictionaries", "groups", "memory"]
    assert plan.values["text_is_counted"]
