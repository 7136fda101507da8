"""Reading activations of a real model: tokens a second by depth and dtype, against a full forward pass.

    python benchmarks/activation_reading.py --model smollm2-135m-instruct-q4 --site resid_post@14

Reported beside it: peak memory, and the share of the matrix rate measured in the same run at the shape of the
model's feed-forward product.
"""

import torch

from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from measure import best_matmul_gflops, interleaved_ms, machine, parser, peak_memory_mib, report


def parameters_up_to(model: LanguageModel, site: Site) -> int:
    """Weights that a token meets in the layers up to the site's, embeddings left out."""
    embedding = model.hf.get_input_embeddings().weight.numel()
    return (
        (sum(p.numel() for p in model.hf.parameters()) - embedding)
        // model.n_layers
        * (1 + (site.layer or 0))
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--model", default="smollm2-135m-instruct-q4")
    options.add_argument("--site", default="resid_post@14")
    options.add_argument("--contexts", type=int, default=16)
    options.add_argument("--context-length", type=int, default=256)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    record = machine(asked.threads, asked.device)
    site = Site.parse(asked.site)
    n_tokens = asked.contexts * asked.context_length
    rows = {}
    for name in ("bfloat16", "float32"):
        dtype = getattr(torch, name)
        model = LanguageModel.load(asked.model, device=asked.device, dtype=dtype)
        tokens = torch.randint(10, model.d_vocab, (asked.contexts, asked.context_length))
        batch = Batch(tokens=tokens).to(model.device)
        cases = {
            "read": lambda model=model, batch=batch: model.read(batch, [site]),
            "full forward": lambda model=model, batch=batch: no_grad(model, batch),
        }
        times = interleaved_ms(cases, rounds=asked.rounds)
        hidden = model.weights.mlp(0).W_in.shape[1]
        rate = best_matmul_gflops(n_tokens, model.d_model, hidden, dtype, asked.device)
        flops = 2 * parameters_up_to(model, site) * n_tokens
        rows[name] = {
            "ms": times,
            "tokens_per_s": 1e3 * n_tokens / times["read"]["median"],
            "read_over_full_forward": times["read"]["median"] / times["full forward"]["median"],
            "matmul_gflops": rate,
            "matmul_fraction": flops / rate / 1e6 / times["read"]["median"],
        }
    report(
        {
            "benchmark": "activation_reading",
            **record,
            "model": asked.model,
            "site": str(site),
            "n_tokens": n_tokens,
            "context_length": asked.context_length,
            "by_dtype": rows,
            "peak_memory_mib": peak_memory_mib(),
        },
        asked.json,
    )


@torch.no_grad()
def no_grad(model: LanguageModel, batch: Batch) -> None:
    model(batch)


if __name__ == "__main__":
    main()
