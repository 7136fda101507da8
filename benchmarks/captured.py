"""Activations of a real model in a file, for benchmarks that must run on the same ones.

    python benchmarks/captured.py activations.safetensors --tokens 36864

Reads SmolLM2 at `resid_post@14` on the bundled text, without special positions and outliers, shuffled.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lmscope.activations.config import StreamConfig
from lmscope.activations.stream import ActivationStream
from lmscope.core.site import Site
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.text.corpus import Corpus

MODEL = "smollm2-135m-instruct-q4"
SITE = "resid_post@14"


def capture(path: Path, n_tokens: int, model_name: str, site_name: str) -> None:
    """Write float32 activations `[token, width]` as the tensor `x`."""
    model = LanguageModel.load(model_name, dtype=torch.bfloat16)
    site = Site.parse(site_name)
    # A third more text than tokens: positions that do not count are left out.
    contexts = Corpus.load("sample").contexts(
        model.tokenizer, 256, bos_id=model.bos_id, max_tokens=n_tokens * 4 // 3
    )
    options = StreamConfig(batch_tokens=1024)
    stream = ActivationStream(model, contexts, [site], options=options, seed=0)
    parts, n_read = [], 0
    for batch in stream:
        values = batch.values[site].float()
        parts.append(values)
        n_read += len(values)
        if n_read >= n_tokens * 9 // 8:
            break
    x = torch.cat(parts)
    x = x[Exclusion({site: float(x.norm(dim=1).median())}).inlier(site, x)][:n_tokens]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"x": x.contiguous()}, path, {"model": model_name, "site": site_name})


def load(path: Path) -> torch.Tensor:
    """What `capture` wrote, with a mean norm of sqrt(width), as dictionaries are trained on it."""
    x = load_file(path)["x"].float()
    return x * (x.shape[1] ** 0.5 / x.norm(dim=1).mean())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("path", type=Path)
    options.add_argument("--tokens", type=int, default=36_864)
    options.add_argument("--model", default=MODEL)
    options.add_argument("--site", default=SITE)
    asked = options.parse_args()
    capture(asked.path, asked.tokens, asked.model, asked.site)


if __name__ == "__main__":
    main()
