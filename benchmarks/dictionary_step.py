"""One training step of a TopK dictionary, side by side with dense autograd and with other libraries.

    python benchmarks/dictionary_step.py
    python benchmarks/dictionary_step.py --width 768 --latents 24576 --k 50 --batch 4096
    python benchmarks/dictionary_step.py --peers peers/bin/python --threads 1 --clock cpu --curve 200
    python benchmarks/dictionary_step.py --activations activations.safetensors      # of captured.py

A step is everything that a library's own training loop does for one dictionary once the activations are there:
forward, loss, backward, clip, Adam, counters of dead latents. All cases run on the same resident float32 batches, in turn,
and from the same weights. `--curve N` trains each for N steps in all and reports its error on held-out rows.

Reported beside it: the share of the limit, which is the time that the unavoidable products (a dense float32 encode
and four k-sparse ones) would take at the best rate that this run reached for the product of the encode.

Other libraries run in a process of their own under the interpreter given by `--peers`. It is made by

    python -m venv peers
    peers/bin/pip install torch==2.13.0
    echo torch==2.13.0+cpu > constraints-peers.txt
    peers/bin/pip install -c constraints-peers.txt eai-sparsify==1.3.3 sae-lens==6.54.12
    peers/bin/pip install --no-deps dictionary-learning==0.1.0 "nnsight<0.4"
    peers/bin/pip install -c constraints-peers.txt "python-socketio[client]" pillow
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as nnf
from safetensors.torch import save_file

import captured
from lmscope.activations.calibration import site_statistics
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, KAnnealing, ObjectiveConfig, TopK
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.dictionaries.selection import EncodePrecision
from lmscope.training.config import TrainingConfig
from lmscope.training.trainee import Trainee
from measure import (
    interleaved,
    machine,
    matmul_cases,
    parser,
    peak_memory_mib,
    report,
    spread,
    timed,
)

SITE = Site("resid_post", 0)
LR = 1e-4
PEERS = ("sae-lens", "eai-sparsify", "dictionary-learning")
LIMIT = "encode only: "


class Batch:
    """Activations of one site."""

    def __init__(self, x: torch.Tensor) -> None:
        self.values = {SITE: x}


class Lmscope:
    """What the training loop does for one dictionary."""

    def __init__(
        self, tensors: dict[str, torch.Tensor], k: int, precision: EncodePrecision
    ) -> None:
        data, weight = tensors["data"], tensors["W"]
        n_latents, width = weight.shape
        config = DictionaryConfig(
            reads=(str(SITE),),
            writes=(str(SITE),),
            d_read=width,
            d_write=width,
            n_latents=n_latents,
            sparsity=TopK(k=k, annealing=KAnnealing(style="off")),
            apply_b_dec_to_input=True,
        )
        statistics_ = {SITE: site_statistics(SITE, list(data))}
        options = ObjectiveConfig(encode_precision=precision)
        self.objective = DictionaryObjective.start(
            config, options, statistics_, n_steps=10**6, seed=0, device=data.device
        )
        dictionary = self.objective.dictionary
        with torch.no_grad():
            dictionary.W_enc.copy_(weight)
            dictionary.W_dec.copy_(weight)
        self.data, self.n_steps = data, 0
        batches = (Batch(data[i % len(data)]) for i in range(10**9))
        self.trainee = Trainee(self.objective, TrainingConfig(steps=10**6), 0, batches)

    def step(self) -> None:
        """One optimiser step."""
        self.trainee.begin_step()
        self.trainee.backward(self.n_steps)
        self.trainee.step(self.n_steps, LR)
        self.n_steps += 1

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """What the dictionary makes of `[token, width]`."""
        return self.objective.dictionary(x)


class DenseAutograd:
    """What everyone writes first; Adam fused, nothing counted, nothing clipped."""

    def __init__(self, tensors: dict[str, torch.Tensor], k: int) -> None:
        weight = tensors["W"]
        self.data, self.k, self.n_steps = tensors["data"], k, 0
        zeros = torch.zeros(len(weight), device=weight.device)
        start = (weight.clone(), zeros, weight.clone(), tensors["mean"].clone())
        self.parameters = [torch.nn.Parameter(tensor) for tensor in start]
        self.adam = torch.optim.Adam(self.parameters, lr=LR, fused=True)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """What the dictionary makes of `[token, width]`."""
        W_enc, b_enc, W_dec, b_dec = self.parameters
        pre = nnf.linear(x - b_dec, W_enc, b_enc).relu()
        kept = (pre.detach() * W_dec.detach().norm(dim=1)).topk(self.k, dim=-1, sorted=False)
        latents = torch.zeros_like(pre).scatter(1, kept.indices, pre.gather(1, kept.indices))
        return latents @ W_dec + b_dec

    def step(self) -> None:
        """One optimiser step."""
        x = self.data[self.n_steps % len(self.data)]
        self.adam.zero_grad(set_to_none=True)
        (self.reconstruct(x) - x).square().sum(1).mean().backward()
        self.adam.step()
        self.n_steps += 1


class Peer:
    """Another library, in a process of its own."""

    def __init__(self, library: str, path: Path, asked: argparse.Namespace) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
        worker = Path(__file__).with_name("peers.py")
        self._process = subprocess.Popen(
            [asked.peers, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        start = {
            "library": library,
            "tensors": str(path),
            "k": asked.k,
            "lr": LR,
            "threads": asked.threads,
            "clock": asked.clock,
        }
        self.about = self._ask({"do": "start", "with": start})

    def step_ms(self) -> float:
        """Milliseconds of one step, by its own clock."""
        return self._ask({"do": "step"})["ms"]

    def evaluate(self) -> dict[str, float]:
        """Its error on held-out rows, and its peak memory."""
        return self._ask({"do": "evaluate"})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        except BrokenPipeError:
            answer = {"error": "it ended"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def make_tensors(asked: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Batches, held-out rows, their mean, and the weights that all start from."""
    if asked.activations is None:
        x = torch.randn((asked.batches + 1) * asked.batch, asked.width)
    else:
        x = captured.load(asked.activations)
        asked.width = x.shape[1]
    x = x[: len(x) // asked.batch * asked.batch].view(-1, asked.batch, x.shape[1])
    if len(x) < 2:
        raise SystemExit("The activations must fill two batches: capture more, or lower --batch.")
    weight = nnf.normalize(torch.randn(asked.latents, asked.width), dim=1)
    tensors = {"data": x[:-1], "held_out": x[-1], "mean": x[:-1].mean((0, 1)), "W": weight}
    return {name: tensor.to(asked.device).contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def normalised_mse(case: Any, x: torch.Tensor) -> float:
    """Squared error of held-out rows over their variation about the mean."""
    return float((case.reconstruct(x) - x).square().sum() / (x - x.mean(0)).square().sum())


def start_peers(path: Path, asked: argparse.Namespace) -> tuple[dict[str, Peer], dict[str, str]]:
    """The libraries that start, and what is wrong with the others."""
    started, absent = {}, {}
    for library in PEERS:
        if asked.peers is None:
            absent[library] = "no --peers interpreter was given"
            continue
        try:
            started[library] = Peer(library, path, asked)
        except (RuntimeError, OSError) as error:
            absent[library] = str(error)
    return started, absent


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Times in interleaved rounds, then errors after the same number of steps."""
    tensors = make_tensors(asked)
    own = {
        "lmscope": Lmscope(tensors, asked.k, "fp32"),
        "lmscope bf16 encode": Lmscope(tensors, asked.k, "bf16"),
        "lmscope int8 encode": Lmscope(tensors, asked.k, "int8"),
        "dense autograd": DenseAutograd(tensors, asked.k),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensors.safetensors"
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, path)
        peers, absent = start_peers(path, asked)
    products = matmul_cases(asked.batch, asked.width, asked.latents, torch.float32, asked.device)
    steps: dict[str, Callable[[], float]] = {
        **{name: timed(case.step, asked.clock) for name, case in own.items()},
        **{name: peer.step_ms for name, peer in peers.items()},
    }
    limits = {LIMIT + name: timed(no_grad(case), asked.clock) for name, case in products.items()}
    times = interleaved({**steps, **limits}, asked.rounds, asked.warmup)
    record = summary(asked, times)
    if asked.curve:
        for step in steps.values():
            for _ in range(asked.curve - asked.rounds - asked.warmup):
                step()
        held_out = tensors["held_out"]
        errors = {name: normalised_mse(case, held_out) for name, case in own.items()}
        errors |= {name: peer.evaluate()["normalised_mse"] for name, peer in peers.items()}
        record["normalised_mse"] = {"after_steps": asked.curve, **errors}
    record["peers"] = {name: peer.about for name, peer in peers.items()}
    record["absent_peers"] = absent
    for peer in peers.values():
        peer.close()
    return record


def no_grad(case: Callable[[], Any]) -> Callable[[], Any]:
    """The same without gradients."""
    return torch.no_grad()(case)


def summary(asked: argparse.Namespace, times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, ratios of rounds (so that a slow round is slow for both), the limit."""
    encode = min(min(t) for name, t in times.items() if name.startswith(LIMIT))
    rate = 2 * asked.batch * asked.width * asked.latents / encode / 1e6
    flops = (
        2 * asked.batch * asked.width * (asked.latents + 4 * asked.k)
        + 2 * asked.width * asked.latents
    )
    limit_ms = flops / rate / 1e6
    cases = {name: t for name, t in times.items() if not name.startswith(LIMIT)}
    ours = {name: t for name, t in cases.items() if name.startswith("lmscope")}
    return {
        "ms": {name: spread(t) for name, t in times.items()},
        "tokens_per_s": {n: 1e3 * asked.batch / statistics.median(t) for n, t in cases.items()},
        "speed_over": {
            mine: {
                other: statistics.median([b / a for a, b in zip(t, theirs, strict=True)])
                for other, theirs in cases.items()
                if other != mine
            }
            for mine, t in ours.items()
        },
        "matmul_gflops": rate,
        "limit_ms": limit_ms,
        "limit_fraction": {name: limit_ms / statistics.median(t) for name, t in cases.items()},
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--width", type=int, default=576)
    options.add_argument("--latents", type=int, default=4608)
    options.add_argument("--k", type=int, default=32)
    options.add_argument("--batch", type=int, default=2048)
    options.add_argument(
        "--batches", type=int, default=8, help="different ones, gone through in turn"
    )
    options.add_argument("--warmup", type=int, default=3, help="steps before the clock starts")
    options.add_argument(
        "--activations", type=Path, help="real ones, from captured.py; else Gaussian"
    )
    options.add_argument(
        "--capture", action="store_true", help="make that file first if it is not there"
    )
    options.add_argument("--peers", help="a Python interpreter that has the other libraries")
    options.add_argument("--curve", type=int, default=0, help="errors after so many steps in all")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    if asked.capture and not asked.activations.exists():
        captured.capture(asked.activations, 18 * asked.batch, captured.MODEL, captured.SITE)
        gc.collect()
    record = machine(asked.threads, asked.device)
    found = measure(asked)
    report(
        {
            "benchmark": "dictionary_step",
            **record,
            "clock": asked.clock,
            "width": asked.width,
            "n_latents": asked.latents,
            "k": asked.k,
            "batch_tokens": asked.batch,
            "rounds": asked.rounds,
            "activations": "gaussian" if asked.activations is None else asked.activations.name,
            **found,
            "peak_memory_mib": peak_memory_mib(),
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
