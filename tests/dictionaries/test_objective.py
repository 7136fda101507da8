from dataclasses import dataclass

import pytest
import torch

from lmscope.core.errors import RunError, SiteError
from lmscope.core.site import Site
from lmscope.dictionaries.config import (
    AuxK,
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    KAnnealing,
    ObjectiveConfig,
    ReLU,
    TopK,
)
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.losses import reconstruction_error
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.training.objective import Objective

READ, WRITE = Site.parse("resid_post@3"), Site.parse("mlp_out@3")
STEADY = KAnnealing(style="off")
KINDS = [
    ReLU(l1_coefficient=0.1),
    TopK(k=3, annealing=STEADY),
    BatchTopK(k=3, annealing=STEADY),
    JumpReLU(),
    JumpReLU(target_l0=3.0),
]
UNCOUPLED = [KINDS[0], KINDS[1], KINDS[3]]


@dataclass
class Batch:
    values: dict


@dataclass
class Statistics:
    mean_norm: float
    mean: torch.Tensor


CALIBRATION = {
    READ: Statistics(3.0, torch.zeros(6)),
    WRITE: Statistics(0.5, torch.zeros(4)),
}


def batch(n_tokens=32, seed=0):
    x = torch.randn(n_tokens, 6, generator=torch.Generator().manual_seed(seed))
    return Batch({READ: x, WRITE: x[:, :4].abs()})


def start(
    make_config, sparsity, *, transcoder=False, n_steps=20, inlier=None, skip=False, **options
):
    config = make_config(sparsity, d_write=4 if transcoder else None, skip=skip)
    options = ObjectiveConfig(**options)
    return DictionaryObjective.start(
        config, options, CALIBRATION, n_steps=n_steps, seed=1, inlier=inlier
    )


def parameters(objective):
    return [p for group in objective.parameter_groups() for p in group.parameters.values()]


def train(objective, steps, first=0, optimiser=None):
    optimiser = optimiser or torch.optim.Adam(parameters(objective), lr=1e-2)
    for step in range(first, first + steps):
        optimiser.zero_grad()
        loss = objective.loss(batch(seed=step), step)
        (loss.sum / loss.weight).backward()
        optimiser.step()
        objective.after_step(step)
    return optimiser


def everything(objective):
    return [*parameters(objective), *objective.dictionary.buffers(), objective.tokens_since_fired]


def test_it_is_an_objective(make_config):
    objective = start(make_config, TopK(k=3))
    assert isinstance(objective, Objective)
    assert objective.name == "resid_post-3-20-topk"
    stream = iter([1, 2])
    assert objective.batches(stream) is stream


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
@pytest.mark.parametrize("transcoder", [False, True])
def test_training_lowers_the_error(make_config, sparsity, transcoder):
    objective = start(make_config, sparsity, transcoder=transcoder, skip=transcoder)
    error = lambda: objective.loss(batch(seed=0), 0).terms["mse"].item()  # noqa: E731
    before = error()
    train(objective, 20)
    assert error() < 0.9 * before


@pytest.mark.parametrize("sparsity", UNCOUPLED, ids=lambda s: s.kind)
def test_micro_batches_add_up_exactly(make_config, sparsity):
    whole, parts = (start(make_config, sparsity, transcoder=True) for _ in range(2))
    full = batch(30)
    cut = [Batch({s: v[a:b] for s, v in full.values.items()}) for a, b in ((0, 7), (7, 30))]
    losses = [parts.loss(part, 5) for part in cut]
    expected = whole.loss(full, 5)
    torch.testing.assert_close(sum(loss.sum for loss in losses), expected.sum)
    assert sum(loss.weight for loss in losses) == expected.weight == 30
    for loss in [*losses, expected]:
        loss.sum.backward()
    for one, other in zip(parameters(whole), parameters(parts), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    whole.after_step(5)
    parts.after_step(5)
    assert torch.equal(whole.tokens_since_fired, parts.tokens_since_fired)


@pytest.mark.parametrize(
    ("sparsity", "reconstruction", "coupled"),
    [
        (TopK(k=3), "sum", False),
        (TopK(k=3), "batch_norm", True),
        (BatchTopK(k=3), "sum", True),
        (JumpReLU(), "mean", False),
        (JumpReLU(target_l0=3.0), "mean", True),
    ],
)
def test_coupling_within_a_batch_is_declared(make_config, sparsity, reconstruction, coupled):
    assert start(make_config, sparsity, reconstruction=reconstruction).batch_coupled is coupled


@pytest.mark.parametrize("sparsity", UNCOUPLED[1:], ids=lambda s: s.kind)
def test_the_loss_at_inference_equals_the_loss_in_training(make_config, sparsity):
    objective = start(make_config, sparsity, transcoder=True, skip=True)
    train(objective, 5)
    x, y = batch(seed=99).values.values()
    output = objective.dictionary(x) * objective.dictionary.scale_out
    error = reconstruction_error(output, y * objective.dictionary.scale_out, "mean") / len(x)
    terms = objective.loss(batch(seed=99), 5).terms
    torch.testing.assert_close(terms["mse"], error.detach())
    l0 = (objective.dictionary.encode(x) > 0).sum() / len(x)
    assert terms["l0"] == l0


def test_terms_are_means_over_the_rows(make_config):
    objective = start(make_config, TopK(k=3))
    terms = objective.loss(batch(), 10).terms
    assert not any(t.requires_grad for t in terms.values())
    target = batch().values[READ] * objective.dictionary.scale_in
    output = objective.dictionary(batch().values[READ]).detach() * objective.dictionary.scale_in
    unexplained = (output - target).square().sum() / (target - target.mean(0)).square().sum()
    torch.testing.assert_close(terms["explained_variance_centred"], 1 - unexplained)
    assert terms["l0"] <= 3
    assert terms["k"] == 3
    assert terms["outlier_fraction"] == 0


def test_outliers_of_either_site_are_dropped(make_config):
    def inlier(site, x):
        keep = torch.ones(len(x), dtype=torch.bool)
        keep[2 if site == READ else 5] = False
        return keep

    with_outliers = start(make_config, TopK(k=3), transcoder=True, inlier=inlier)
    without = start(make_config, TopK(k=3), transcoder=True)
    rows = [i for i in range(32) if i not in (2, 5)]
    found = with_outliers.loss(batch(), 0)
    expected = without.loss(Batch({s: v[rows] for s, v in batch().values.items()}), 0)
    assert found.weight == expected.weight == 30
    assert torch.equal(found.sum, expected.sum)
    assert found.terms["outlier_fraction"].item() == pytest.approx(2 / 32)


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
def test_a_batch_of_outliers_alone_weighs_nothing(make_config, sparsity):
    nothing = lambda site, x: torch.zeros(len(x), dtype=torch.bool)  # noqa: E731
    loss = start(make_config, sparsity, inlier=nothing).loss(batch(), 0)
    loss.sum.backward()
    assert (loss.sum.item(), loss.weight) == (0.0, 0.0)


def test_k_is_annealed(make_config):
    objective = start(make_config, TopK(k=2, annealing=KAnnealing(fraction=0.5)))
    # From d_read = 6 to 2 over 10 of 20 steps.
    assert [objective.k_at(step) for step in (0, 5, 10, 19)] == [6, 4, 2, 2]
    assert objective.loss(batch(), 5).terms["k"] == 4


def test_dead_latents_are_counted_by_tokens(make_config):
    objective = start(make_config, TopK(k=1, annealing=STEADY), dead_after_tokens=64)
    objective.dictionary.b_enc.data[3] = 100.0  # latent 3 always wins
    for step in range(2):
        objective.loss(batch(), step)
        objective.after_step(step)
    assert objective.tokens_since_fired[3] == 0
    assert objective.tokens_since_fired.sum() == 64 * 19
    assert objective.dead.sum() == 19
    assert objective.loss(batch(), 2).terms["n_dead"] == 19


def test_a_latent_that_stops_firing_starts_to_count(make_config):
    objective = start(make_config, TopK(k=1, annealing=STEADY))
    for latent in (3, 4):
        objective.dictionary.b_enc.data[latent] += 100.0 * latent  # now this one always wins
        objective.loss(batch(), 0)
        objective.after_step(0)
    assert objective.tokens_since_fired[[3, 4]].tolist() == [32, 0]


@pytest.mark.parametrize(("reconstruction", "unit"), [("sum", 1.0), ("mean", 1 / 6)])
def test_penalties_rise_from_nothing_to_their_coefficient(make_config, reconstruction, unit):
    sparsity = ReLU(l1_coefficient=0.3, warmup_fraction=0.5)
    objective = start(make_config, sparsity, reconstruction=reconstruction)
    latents = objective.dictionary.encode(batch().values[READ])
    full = 0.3 * unit * (latents * objective.dictionary.W_dec.norm(dim=1)).sum().item() / 32
    found = [objective.loss(batch(), step).terms["penalty"].item() for step in (0, 5, 10, 19)]
    assert found == pytest.approx([0.0, full / 2, full, full], rel=1e-5)
    # JumpReLU counts in the paper's units, whose summed error is 1 / d_write = 1 / 6 of ours.
    sparsity = JumpReLU(l0_coefficient=0.3, warmup_fraction=0.5)
    objective = start(make_config, sparsity, reconstruction=reconstruction)
    full = (
        0.3 * unit * 6 * (objective.dictionary.encode(batch().values[READ]) > 0).sum().item() / 32
    )
    found = [objective.loss(batch(), step).terms["penalty"].item() for step in (0, 5, 10, 19)]
    assert found == pytest.approx([0.0, full / 2, full, full], rel=1e-5)


def test_jumprelu_thresholds_feel_latents_within_the_bandwidth(make_config):
    def gradient(coefficient):
        sparsity = JumpReLU(l0_coefficient=coefficient, bandwidth=0.2, initial_threshold=0.1)
        objective = start(make_config, sparsity, reconstruction="mean")
        objective.loss(batch(), 10).sum.backward()
        return objective, objective.parameter_groups()[0].parameters["log_threshold"].grad

    (objective, with_penalty), (_, without) = gradient(0.5), gradient(0.0)
    # In training units both numbers are sqrt(6) times as large.
    threshold, bandwidth = 0.1 * 6**0.5, 0.2 * 6**0.5
    pre = objective.dictionary.pre_activations(batch().values[READ]).detach()
    near = ((pre - threshold).abs() < bandwidth / 2).sum(0)
    torch.testing.assert_close(with_penalty - without, -0.5 * near * threshold / bandwidth)


def test_the_auxiliary_loss_sends_gradient_to_dead_encoders(make_config):
    options = {"auxiliary": AuxK(k=2), "dead_after_tokens": 10}
    plain = start(make_config, TopK(k=1, annealing=STEADY), dead_after_tokens=10)
    objective = start(make_config, TopK(k=1, annealing=STEADY), **options)
    for one in (plain, objective):
        one.dictionary.b_enc.data[3] = 100.0
        one.loss(batch(), 0)
        one.after_step(0)
        one.loss(batch(), 1).sum.backward()
    reached = objective.dictionary.W_enc.grad.abs().sum(1) > 0
    assert (plain.dictionary.W_enc.grad.abs().sum(1) > 0).nonzero().flatten().tolist() == [3]
    assert reached[objective.dead].sum() > 10
    torch.testing.assert_close(objective.dictionary.W_enc.grad[3], plain.dictionary.W_enc.grad[3])
    assert objective.loss(batch(), 1).terms["auxiliary"] > 0


def test_the_batchtopk_threshold_follows_the_lowest_kept_score(make_config):
    sparsity = BatchTopK(k=3, annealing=STEADY, threshold_decay=0.75)
    objective = start(make_config, sparsity)
    lowest = []
    for step in range(2):
        x = batch(seed=step).values[READ]
        pre = objective.dictionary.pre_activations(x)
        score = (pre.relu() * objective.dictionary.W_dec.norm(dim=1)).flatten()
        lowest.append(score.sort().values[-32 * 3].item())
        objective.loss(batch(seed=step), step)
        objective.after_step(step)
        expected = lowest[0] if step == 0 else 0.75 * lowest[0] + 0.25 * lowest[1]
        assert objective.dictionary.threshold.item() == pytest.approx(expected, rel=1e-5)


def test_a_unit_norm_decoder_stays_so_and_feels_no_gradient_along_its_rows(make_config):
    objective = start(make_config, TopK(k=3), unit_norm_decoder=True)
    W_dec = objective.dictionary.W_dec
    torch.testing.assert_close(W_dec.norm(dim=1), torch.ones(20))
    loss = objective.loss(batch(), 0)
    loss.sum.backward()
    assert W_dec.grad.abs().max() > 1e-3
    torch.testing.assert_close((W_dec.grad * W_dec).sum(1), torch.zeros(20), atol=1e-4, rtol=0)
    train(objective, 3)
    torch.testing.assert_close(W_dec.norm(dim=1), torch.ones(20))


def test_jumprelu_thresholds_learn_and_the_dictionary_follows(make_config):
    objective = start(make_config, JumpReLU(l0_coefficient=0.1))
    before = objective.dictionary.threshold.clone()
    # The paper's 0.05 at E||x||^2 = 1 is 0.05 * sqrt(6) where a mean norm is sqrt(6).
    torch.testing.assert_close(before, torch.full((20,), 0.05 * 6**0.5))
    train(objective, 10)
    group = objective.parameter_groups()[0].parameters
    torch.testing.assert_close(
        objective.dictionary.threshold, group["log_threshold"].exp().detach()
    )
    assert (objective.dictionary.threshold != before).sum() > 10


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
def test_resuming_gives_equal_bits(make_config, sparsity):
    options = {"auxiliary": AuxK(k=2), "dead_after_tokens": 40}
    whole = start(make_config, sparsity, **options)
    train(whole, 12)
    first = start(make_config, sparsity, **options)
    optimiser = train(first, 6)
    state, saved = first.state(), [p.detach().clone() for p in parameters(first)]
    second = start(make_config, sparsity, **options)
    for parameter, value in zip(parameters(second), saved, strict=True):
        parameter.data.copy_(value)
    second.load_state(state)
    again = torch.optim.Adam(parameters(second), lr=1e-2)
    again.load_state_dict(optimiser.state_dict())
    train(second, 6, first=6, optimiser=again)
    for one, other in zip(everything(whole), everything(second), strict=True):
        assert torch.equal(one, other)


def test_the_state_of_another_dictionary_is_refused(make_config):
    objective = start(make_config, TopK(k=3))
    with pytest.raises(RunError, match="'tokens_since_fired' is absent"):
        objective.load_state({})
    state = objective.state()
    state["buffers"].pop("scale_in")
    with pytest.raises(RunError, match="'scale_in' is absent"):
        objective.load_state(state)


def test_sites_that_are_absent_are_named(make_config):
    objective = start(make_config, TopK(k=3), transcoder=True)
    with pytest.raises(SiteError, match="lacks 'mlp_out@3'"):
        objective.loss(Batch({READ: torch.zeros(2, 6)}), 0)
    config = make_config(TopK(k=3), d_write=4)
    with pytest.raises(SiteError, match="'mlp_out@3' has no statistics"):
        DictionaryObjective.start(
            config, ObjectiveConfig(), {READ: CALIBRATION[READ]}, n_steps=1, seed=0
        )


@pytest.mark.parametrize("sparsity", [JumpReLU(), JumpReLU(target_l0=3.0)], ids=["l0", "target"])
def test_jumprelu_pair_by_pair_equals_the_dense_step(monkeypatch, sparsity):
    """With a fraction of 1 every step is sparse, with a huge one every step is dense."""
    found = []
    for fraction in (1, 10**9):
        monkeypatch.setattr("lmscope.dictionaries.forward.SPARSE_FRACTION", fraction)
        generator = torch.Generator().manual_seed(3)
        config = DictionaryConfig(
            reads=("resid_post@0",),
            writes=("resid_post@0",),
            d_read=6,
            d_write=6,
            n_latents=20,
            sparsity=sparsity,
            apply_b_dec_to_input=True,
        )
        dictionary = Dictionary(config).double()
        with torch.no_grad():
            for p in dictionary.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
        objective = DictionaryObjective(dictionary, ObjectiveConfig(), n_steps=10, name="one")
        x = torch.randn(50, 6, generator=generator, dtype=torch.float64)
        batch = Batch({Site("resid_post", 0): x})
        loss = objective.loss(batch, 5)
        loss.sum.backward()
        grads = [p.grad for g in objective.parameter_groups() for p in g.parameters.values()]
        found.append([loss.sum.detach(), loss.terms["l0"], *grads])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
