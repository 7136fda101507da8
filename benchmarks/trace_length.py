"""How the time and memory of tracing one prompt grow with its length, step by step as `lmscope trace` takes them.

    python benchmarks/trace_length.py --threads 1 --clock cpu
    python benchmarks/trace_length.py --dictionaries RUN/artifacts/dictionaries --model smollm2-135m-instruct-q4

Without --dictionaries a Llama of SmolLM2's sizes with seeded weights is traced through a random transcoder of 4,608
latents at each of its 30 layers, 32 of them active at a token; so many features are kept as --nodes says. With them
the model is traced at the usual threshold. `verify` tries the circuit in both models with errors kept and removed.
`peak_mib` is the most memory of the process at that length (Linux), model and dictionaries included.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from circuit_case import SMOLLM2, model_of, prompt_of, transcoders_of
from lmscope.circuits.attribution import Attribution, attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.faithfulness import FaithfulnessOptions, measure
from lmscope.circuits.feature_sets import kept_by
from lmscope.circuits.frozen import freeze
from lmscope.circuits.graph import Graph
from lmscope.circuits.graph_building import build_graph
from lmscope.circuits.means import ZeroBaseline
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import LogitTarget
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.language_model import LanguageModel
from measure import machine, parser, report, spread

_LEAST = 1e-4


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--model", default="smollm2-135m-instruct-q4")
    options.add_argument("--dictionaries", type=Path, help="folder of folders; absent: random ones")
    options.add_argument("--only", default="*", help="pattern of their names")
    options.add_argument("--lengths", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    options.add_argument("--nodes", type=int, default=300, help="features that are kept")
    options.set_defaults(rounds=2)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    record = machine(asked.threads, "cpu")
    if asked.dictionaries is None:
        model = model_of(SMOLLM2)
        dictionaries = transcoders_of(model, SMOLLM2.latents, SMOLLM2.k)
    else:
        model = LanguageModel.load(asked.model, dtype="float32")
        folders = sorted(asked.dictionaries.glob(asked.only))
        dictionaries = [Dictionary.load(folder) for folder in folders]
    replacement = Replacement(model, dictionaries)
    del dictionaries
    gc.collect()
    now = time.process_time if asked.clock == "cpu" else time.perf_counter
    n_nodes = asked.nodes if asked.dictionaries is None else None
    rows = []
    for length in asked.lengths:
        case = _Case(replacement, prompt_of(model, length), n_nodes, now)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        steps = [case.go() for _ in range(asked.rounds)]
        times = {name: spread([one[name] for one in steps]) for name in steps[0]}
        rows.append(
            {
                "n_tokens": length,
                "ms": times,
                "ms_in_all": sum(one["median"] for one in times.values()),
                **case.figures,
                "peak_mib": _peak_mib(),
            }
        )
    sizes = {"layers": model.n_layers, "width": model.d_model}
    what = "random transcoders" if asked.dictionaries is None else asked.only
    about = {"model": model.name, **sizes, "dictionaries": what, "n": len(replacement.dictionaries)}
    report({"benchmark": "trace_length", **record, **about, "rows": rows}, asked.json)


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


class _Case:
    """One prompt."""

    def __init__(
        self,
        replacement: Replacement,
        tokens: list[int],
        n_nodes: int | None,
        now: Callable[[], float],
    ) -> None:
        self.replacement, self.tokens, self.now = replacement, tokens, now
        frozen = freeze(replacement, tokens)
        self.target = LogitTarget(int(frozen.logits(-1).argmax()))
        self.options = TraceOptions()
        self.figures: dict[str, Any] = {}
        if n_nodes is not None:
            found = attribute(frozen, self.target, TraceOptions(threshold=0.0))
            sizes = torch.cat([one.attribution.abs() for one in found.sites.values()])
            least = float(sizes.topk(min(n_nodes, len(sizes))).values[-1])
            self.options = TraceOptions(threshold=least, relative=False)

    def go(self) -> dict[str, float]:
        """Milliseconds of each step."""
        gc.collect()
        times: dict[str, float] = {}

        @contextmanager
        def timed(name: str) -> Iterator[None]:
            start = self.now()
            yield
            times[name] = (self.now() - start) * 1e3

        with timed("freeze"):
            frozen = freeze(self.replacement, self.tokens)
        with timed("attribute"):
            found = attribute(frozen, self.target, self.options)
        with timed("build_graph"):
            graph = self._graph(found)
        with timed("verify"):
            self._verify(found)
        self.figures = {
            "n_active": sum(len(one.kept) for one in found.sites.values()),
            "n_features": found.n_kept,
            "n_edges": len(graph.flow),
            "residual_in_tolerances": abs(found.ledger.residual) / found.ledger.tolerance,
        }
        return times

    def _graph(self, found: Attribution) -> Graph:
        least = _LEAST * abs(found.start.value)
        texts = [""] * len(self.tokens)
        return build_graph(found, self.options, prompt="", texts=texts, least_flow=least)

    def _verify(self, found: Attribution) -> None:
        circuit = kept_by(found)
        for where in ("linear", "real"):
            for errors in ("kept", "removed"):
                how = FaithfulnessOptions(where=where, errors=errors)
                sets = [circuit, circuit.complement()]
                measure(found.frozen, self.target, sets, ZeroBaseline(), how)


if __name__ == "__main__":
    main()
