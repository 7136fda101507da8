"""One training step of a TopK dictionary: the k-sparse step against the same mathematics by dense autograd.

    python benchmarks/dictionary_step.py
    python benchmarks/dictionary_step.py --width 768 --latents 24576 --k 50 --batch 4096

A step is everything that the loop does for one objective: forward, loss, backward, clip, Adam, dead counters.
Reported beside it: the share of the limit, which is the time that the unavoidable products (a dense encode and
four k-sparse ones) would take at the best matrix rate measured in the same run.
"""

import torch
import torch.nn.functional as nnf

from lmscope.activations.calibration import site_statistics
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, KAnnealing, ObjectiveConfig, TopK
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.training.config import TrainingConfig
from lmscope.training.trainee import Trainee
from measure import best_matmul_gflops, interleaved_ms, machine, parser, peak_memory_mib, report

SITE = Site("resid_post", 0)


class FakeBatch:
    """Activations of one site."""

    def __init__(self, x: torch.Tensor) -> None:
        self.values = {SITE: x}


def our_step(x: torch.Tensor, n_latents: int, k: int):
    sparsity = TopK(k=k, annealing=KAnnealing(style="off"))
    width = x.shape[1]
    config = DictionaryConfig(
        reads=(str(SITE),),
        writes=(str(SITE),),
        d_read=width,
        d_write=width,
        n_latents=n_latents,
        sparsity=sparsity,
    )
    statistics = {SITE: site_statistics(SITE, [x])}
    objective = DictionaryObjective.start(
        config, ObjectiveConfig(), statistics, n_steps=1000, seed=0, device=x.device
    )
    batch = FakeBatch(x)
    trainee = Trainee(objective, TrainingConfig(steps=1000), 0, iter(lambda: batch, None))

    def step() -> None:
        trainee.begin_step()
        trainee.backward(0)
        trainee.step(0, 1e-4)

    return step


def dense_step(x: torch.Tensor, n_latents: int, k: int):
    """What everyone writes first; Adam fused, nothing counted, nothing clipped."""
    decoder = nnf.normalize(torch.randn(n_latents, x.shape[1], device=x.device), dim=1)
    weights = [torch.nn.Parameter(w) for w in (decoder.clone(), decoder)]
    biases = [torch.nn.Parameter(torch.zeros(n, device=x.device)) for n in (n_latents, x.shape[1])]
    optimiser = torch.optim.Adam([*weights, *biases], lr=1e-4, fused=True)
    (encoder, decoder_), (b_enc, b_dec) = weights, biases

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        pre = nnf.linear(x, encoder, b_enc).relu()
        kept = (pre.detach() * decoder_.detach().norm(dim=1)).topk(k, dim=-1, sorted=False).indices
        latents = torch.zeros_like(pre).scatter(1, kept, pre.gather(1, kept))
        ((latents @ decoder_ + b_dec - x) ** 2).sum(1).mean().backward()
        optimiser.step()

    return step


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--width", type=int, default=576)
    options.add_argument("--latents", type=int, default=4608)
    options.add_argument("--k", type=int, default=32)
    options.add_argument("--batch", type=int, default=2048)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    record = machine(asked.threads, asked.device)
    x = torch.randn(asked.batch, asked.width, device=asked.device)
    cases = {
        "lmscope": our_step(x, asked.latents, asked.k),
        "dense autograd": dense_step(x, asked.latents, asked.k),
    }
    times = interleaved_ms(cases, rounds=asked.rounds, warmup=2)
    rate = best_matmul_gflops(asked.batch, asked.width, asked.latents, torch.float32, asked.device)
    flops = 2 * asked.batch * asked.width * (asked.latents + 4 * asked.k)
    limit_ms = flops / rate / 1e6
    ours = times["lmscope"]["median"]
    report(
        {
            "benchmark": "dictionary_step",
            **record,
            "width": asked.width,
            "n_latents": asked.latents,
            "k": asked.k,
            "batch_tokens": asked.batch,
            "ms": times,
            "tokens_per_s": {name: 1e3 * asked.batch / t["median"] for name, t in times.items()},
            "dense_over_lmscope": times["dense autograd"]["median"] / ours,
            "matmul_gflops": rate,
            "limit_ms": limit_ms,
            "limit_fraction": limit_ms / ours,
            "peak_memory_mib": peak_memory_mib(),
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
