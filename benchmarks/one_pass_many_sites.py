"""Training dictionaries at several sites from one stream, against one training for each, and against the deepest alone.

    python benchmarks/one_pass_many_sites.py
    python benchmarks/one_pass_many_sites.py --no-separate --sites resid_post@{0,2,4,6,8,10,12,14} --tokens 120000

Both train the same dictionaries on the same tokens to the same weights; only the sharing of the forward pass differs.
"""

import tempfile
from pathlib import Path

import torch

from lmscope.jobs.train import TrainRecipe, train
from measure import interleaved_ms, machine, parser, peak_memory_mib, report


def recipe(sites: tuple[str, ...], tokens: int, model: str) -> TrainRecipe:
    return TrainRecipe.from_mapping(
        {
            "model": {"name": model, "dtype": "bfloat16"},
            "text": {"context_length": 256, "max_tokens": tokens},
            "dictionary": {
                "sites": sites,
                "n_latents": [4608],
                "sparsity": [{"kind": "topk", "k": 32}],
            },
            "stream": {"batch_tokens": 2048},
            "evaluation": {"tokens": 0},
        }
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--model", default="smollm2-135m-instruct-q4")
    options.add_argument("--tokens", type=int, default=60_000)
    options.add_argument("--sites", nargs="+", default=[f"resid_post@{i}" for i in (5, 8, 11, 14)])
    options.add_argument("--no-separate", action="store_true", help="leave one by one out")
    options.set_defaults(rounds=1)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    record = machine(asked.threads, asked.device)

    def run(sites: tuple[str, ...]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            train(recipe(sites, asked.tokens, asked.model), root=Path(folder))

    sites = tuple(asked.sites)
    cases = {
        "together": lambda: run(sites),
        "one by one": lambda: [run((site,)) for site in sites],
        f"only {sites[-1]}": lambda: run(sites[-1:]),
    }
    if asked.no_separate:
        del cases["one by one"]
    times = interleaved_ms(cases, rounds=asked.rounds, warmup=0)
    together = times["together"]["median"]
    separate = times.get("one by one")
    report(
        {
            "benchmark": "one_pass_many_sites",
            **record,
            "model": asked.model,
            "sites": sites,
            "n_tokens": asked.tokens,
            "ms": times,
            "one_by_one_over_together": separate and separate["median"] / together,
            "together_over_deepest_alone": together / times[f"only {sites[-1]}"]["median"],
            "peak_memory_mib": peak_memory_mib(),
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
