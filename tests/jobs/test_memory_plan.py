"""What a group takes on one device, and how groups are made of it; the numbers are worked out by hand."""

import pytest
import torch

from lmscope.activations.config import StreamConfig
from lmscope.core.errors import RecipeError
from lmscope.core.mesh import Mesh
from lmscope.dictionaries.config import DictionaryConfig, KAnnealing, ReLU, TopK
from lmscope.jobs.choices import EvaluationChoice
from lmscope.jobs.dictionary_choice import Wanted
from lmscope.jobs.grouping import DictionaryGroup, numbered, plan_groups, regrouped, remedy
from lmscope.jobs.memory import (
    Memory,
    MemoryModel,
    Text,
    available_bytes,
    held_parameters,
    n_parameters,
    sites_of,
    step_bytes,
)
from lmscope.models.miniature import miniature

OFF = KAnnealing(style="off")


def config(site="resid_post@0", n_latents=64, *, d=32, writes=None, **changes):
    changes = {"sparsity": TopK(k=4, annealing=OFF), **changes}
    return DictionaryConfig(
        reads=(site,), writes=(writes or site,), d_read=d, d_write=d, n_latents=n_latents, **changes
    )


def wanted(**sites):
    return {name: Wanted(config(site), tokens) for name, (site, tokens) in sites.items()}


def taking(each, fixed=0):
    """A memory model in which every dictionary takes equally much, beside something fixed."""

    def needs(configs):
        zeros = dict.fromkeys(Memory.__annotations__, 0)
        return Memory(**{**zeros, "model": fixed, "parameters": each * len(configs)})

    return needs


def test_parameters_are_those_of_the_weights():
    # 64 latents: 32 numbers read, 32 written, a bias; and a bias of the output: 64 * 65 + 32.
    assert n_parameters(config()) == 4192
    # A linear path of 32 x 32 beside them.
    assert n_parameters(config(writes="mlp_out@0", skip=True)) == 4192 + 1024


@pytest.mark.parametrize(
    ("mesh", "held"),
    [
        # Three dictionaries of 4,192 parameters: 64 latents of 32 + 32 + 1 numbers, and b_dec of 32.
        (Mesh(), 3 * 4192),
        # The data axis copies all of them.
        (Mesh(data=4), 3 * 4192),
        # Half of the latents of each: 32 * 65 + 32.
        (Mesh(latent=2), 3 * (32 * 65 + 32)),
        # Two of the three on the first of two devices.
        (Mesh(site=2), 2 * 4192),
        (Mesh(site=8), 4192),
        (Mesh(data=2, latent=4, site=3), 16 * 65 + 32),
    ],
)
def test_the_axes_divide_the_parameters(mesh, held):
    assert held_parameters([config(f"resid_post@{i}") for i in range(3)], mesh) == held


def test_gradients_are_as_large_as_the_parameters_and_moments_twice():
    memory = _memory_model().of([config(), config("mlp_out@1")])
    assert memory.parameters == 2 * 4192 * 4
    assert (memory.gradients, memory.moments) == (memory.parameters, 2 * memory.parameters)


def test_the_buffers_of_a_step_are_those_of_one_dictionary():
    # Of 128 tokens, 64 latents and a width of 32: the scaled encoder 4 x 64 x 32, scores and their
    # maxima 8 x 128 x 64, pairs of 52 bytes, and 2 + 5 rows of 4 x 128 x 32 bytes.
    fixed = 8_192 + 65_536 + 7 * 16_384
    assert step_bytes(config(), 128) == fixed + 128 * 4 * 52
    # Annealed k starts at d_read = 32.
    assert step_bytes(config(sparsity=TopK(k=4)), 128) == fixed + 128 * 32 * 52
    # Dense: five arrays of 4 x 128 x 64, six of input and output.
    assert step_bytes(config(sparsity=ReLU()), 128) == 5 * 32_768 + 6 * 128 * 64 * 4
    one, both = (_memory_model().of([config(f"mlp_out@{i}") for i in range(n)]) for n in (1, 2))
    assert one.step == both.step == step_bytes(config(), 64)


def test_the_weights_of_the_model_and_its_scores_are_counted():
    model = miniature("llama")
    memory = _memory_model(model).of([config()])
    assert memory.model == 4 * sum(p.numel() for p in model.hf.parameters())
    silent = _memory_model(model, tokens=0).of([config()])
    assert silent.evaluation == 0
    assert silent.peak == silent.training < memory.peak or memory.peak == memory.training


def test_more_sites_and_larger_blocks_take_more_of_the_stream():
    few, many = (_memory_model().of([config(f"resid_post@{i}") for i in range(n)]) for n in (1, 3))
    assert many.stream > 2 * few.stream
    wide = _memory_model(block_contexts=16).of([config()])
    assert wide.stream > few.stream
    # A transcoder and an SAE of what it writes share a site.
    shared = [config("mlp_in@0", writes="mlp_out@0"), config("mlp_out@0")]
    assert [str(site) for site in sites_of(shared)] == ["mlp_in@0", "mlp_out@0"]


def test_a_share_of_what_there_is_may_be_used():
    assert 2**20 < available_bytes(torch.device("cpu")) < 2**50


def _memory_model(model=None, block_contexts=4, tokens=512):
    stream = StreamConfig(batch_tokens=64, block_contexts=block_contexts, forward_contexts=4)
    choice = EvaluationChoice(tokens=tokens, scored_tokens=64, batch_contexts=2)
    return MemoryModel(model or miniature("llama"), Text(200, 32), stream, choice)


def test_groups_are_filled_by_depth_and_keep_the_order_of_the_recipe():
    asked = wanted(
        deep=("resid_post@2", None), low=("attn_out@0", None), mid=("resid_post@0", None)
    )
    assert [g.names for g in plan_groups(asked, taking(10), 20)] == [("low", "mid"), ("deep",)]
    (only,) = plan_groups(asked, taking(10), 30)
    assert only == DictionaryGroup(1, ("deep", "low", "mid"), folder="")


def test_groups_of_one_budget_are_of_equal_size_where_that_fits():
    asked = wanted(**{f"d{i}": (f"resid_post@{i}", None) for i in range(9)})
    assert [len(g.names) for g in plan_groups(asked, taking(1), 8)] == [5, 4]
    assert [g.folder for g in plan_groups(asked, taking(1), 8)] == ["group-01", "group-02"]


def test_dictionaries_of_different_budgets_are_never_in_one_group():
    asked = wanted(a=("resid_post@0", 800), b=("resid_post@0", 1600), c=("resid_post@1", 800))
    assert [g.names for g in plan_groups(asked, taking(1), 100)] == [("a", "c"), ("b",)]


def test_a_dictionary_that_does_not_fit_alone_is_refused_with_what_to_change():
    said = r"'a' alone takes 3.00 GiB and 2.00 GiB may be used; .* the model: load it in a smaller"
    with pytest.raises(RecipeError, match=said):
        plan_groups(wanted(a=("resid_post@0", None)), taking(2**30, fixed=2**31), 2**31)


def test_what_to_change_follows_from_what_takes_most():
    zeros = dict.fromkeys(Memory.__annotations__, 0)
    for part, word in {
        "model": "model.dtype",
        "moments": "latent=2",
        "step": "batch_tokens",
        "stream": "block_contexts",
        "forward": "forward_contexts",
        "evaluation": "evaluation.batch_contexts",
    }.items():
        assert word in remedy(Memory(**{**zeros, part: 100}))[1]


def test_groups_that_have_begun_stay_and_the_others_are_numbered_on():
    begun = numbered([("a", "b"), ("c",), ("d",)])[:1]
    again = regrouped(begun, numbered([("c", "d")]))
    assert again == [begun[0], DictionaryGroup(2, ("c", "d"), "group-02")]
    assert regrouped([], numbered([("a",)])) == numbered([("a",)])
    # The only group of a run has its checkpoints in the run's own folder; it keeps them there.
    alone = numbered([("a", "b")])
    assert regrouped(alone, []) == alone


def test_a_group_survives_being_written_down():
    group = numbered([("a",), ("b", "c")])[1]
    assert DictionaryGroup.from_mapping(group.to_mapping()) == group
