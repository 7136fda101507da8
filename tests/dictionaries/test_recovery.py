"""Plant a known dictionary, train on its activations, find it again."""

from dataclasses import dataclass

import pytest
import torch

from lmscope.core.rng import generator
from lmscope.core.site import Site
from lmscope.dictionaries.config import (
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    KAnnealing,
    ObjectiveConfig,
    ReLU,
    TopK,
)
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.dictionaries.synthetic import mean_max_cosine, plant

SITE = Site.parse("mlp_out@0")
N_STEPS, PEAK_LR = 500, 1e-2


@dataclass
class Batch:
    values: dict


@dataclass
class Statistics:
    mean_norm: float
    mean: torch.Tensor


@pytest.mark.parametrize(
    "sparsity",
    [
        ReLU(l1_coefficient=2.0),
        TopK(k=3),
        BatchTopK(k=3, annealing=KAnnealing(fraction=0.4)),
        JumpReLU(l0_coefficient=0.03),
    ],
    ids=lambda sparsity: sparsity.kind,
)
def test_a_planted_dictionary_is_found(sparsity):
    stream = generator(0, "planted")
    planted = plant(40, 24, 2.5, stream)
    sample = planted.sample(4096, stream)
    statistics = Statistics(sample.norm(dim=1).mean().item(), sample.mean(0))
    config = DictionaryConfig(
        reads=(str(SITE),),
        writes=(str(SITE),),
        d_read=24,
        d_write=24,
        n_latents=80,
        sparsity=sparsity,
    )
    objective = DictionaryObjective.start(
        config, ObjectiveConfig(), {SITE: statistics}, n_steps=N_STEPS, seed=0
    )
    start = mean_max_cosine(objective.dictionary.W_dec.detach(), planted.features)
    parameters = objective.parameter_groups()[0].parameters.values()
    optimiser = torch.optim.Adam(parameters, lr=PEAK_LR)
    for step in range(N_STEPS):
        optimiser.param_groups[0]["lr"] = PEAK_LR * min(1.0, 3 * (1 - step / N_STEPS))
        loss = objective.loss(Batch({SITE: planted.sample(128, stream)}), step)
        optimiser.zero_grad()
        (loss.sum / loss.weight).backward()
        optimiser.step()
        objective.after_step(step)
    found = mean_max_cosine(objective.dictionary.W_dec.detach(), planted.features)
    print(f"{sparsity.kind}: mean max cosine {start:.3f} -> {found:.4f}", loss.terms["l0"])
    assert start < 0.8
    assert found > 0.95
