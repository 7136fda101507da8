"""Reads and edits the same sites of three models of three families, by the same code.

    python scripts/sites_tour.py [MODEL ...]

For each model: one pass reads sites up to the middle layer; the residual identities hold; an identity edit changes
no bit; putting noise at one site changes what lies above it and nothing below; attention patterns sum to 1; a pass
resumed at the middle equals the full one. Exits 1 if any of it fails.
"""

import sys

import torch

from lmscope.core.site import Site
from lmscope.models.language_model import LanguageModel

MODELS = ("smollm2-135m-instruct-q4", "gemma3-270m-q4", "minilm-l6")
TEXT = "The capital of France is Paris, and the capital of Italy is"


def tour(name: str) -> list[tuple[str, bool]]:
    """What was checked of one model, and whether it held."""
    model = LanguageModel.load(name, dtype=torch.float32)
    batch = model.batch(TEXT)
    layer = model.n_layers // 2
    pre, add_a, mid, add_m, post = (
        Site(part, layer)
        for part in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
    )
    top = Site("resid_post", model.n_layers - 1)
    pattern = Site("pattern", layer)
    print(f"\n{model}")
    values = model.read(batch, [pre, add_a, mid, add_m, post, top])
    checks = [("sites up to the last layer in one pass", len(values) == 6)]
    checks += identities(model, values, (pre, add_a, mid, add_m, post))
    rows = model.read(batch, [pattern])[pattern].float().sum(-1)
    checks.append(
        ("each row of the attention pattern sums to 1", close(rows, torch.ones_like(rows)))
    )
    with model.edit({mid: lambda x, at: x.clone()}):
        same = model.read(batch, [top])[top]
    checks.append(("an identity edit changes no bit", torch.equal(same, values[top])))
    noise = torch.randn(values[mid].shape, generator=torch.Generator().manual_seed(0)).to(
        model.device
    )
    with model.edit({mid: lambda x, at: x + noise}):
        edited = model.read(batch, [pre, mid, top])
    checks.append(("an edit is read where it was made", close(edited[mid], values[mid] + noise)))
    checks.append(("it changes what lies above", not close(edited[top], values[top])))
    checks.append(("it changes nothing below", torch.equal(edited[pre], values[pre])))
    resumed = model.resume(post, values[post], batch, [top])[top]
    checks.append(
        ("resuming at the middle equals the full pass", torch.equal(resumed, values[top]))
    )
    return checks


def identities(
    model: LanguageModel, values: dict[Site, torch.Tensor], sites: tuple[Site, ...]
) -> list[tuple[str, bool]]:
    """The residual identities: plain sums, or in post-norm encoders sums that a norm follows."""
    pre, add_a, mid, add_m, post = (values[site] for site in sites)
    if model.is_causal:
        return [
            ("resid_mid = resid_pre + attn_out", close(mid, pre + add_a)),
            ("resid_post = resid_mid + mlp_out", close(post, mid + add_m)),
        ]
    block = model.hf.base_model.encoder.layer[sites[0].layer]
    return [
        (
            "resid_mid = norm(resid_pre + attn_out)",
            close(mid, block.attention.output.LayerNorm(pre + add_a)),
        ),
        (
            "resid_post = norm(resid_mid + mlp_out)",
            close(post, block.output.LayerNorm(mid + add_m)),
        ),
    ]


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def main() -> int:
    failed = 0
    for name in sys.argv[1:] or MODELS:
        for what, held in tour(name):
            failed += not held
            print(f"  {'yes' if held else 'NO '}  {what}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
