"""Scoring candidate prompts: the reference's loop, a plain loop without waste, and this project's ways, on equal candidates.

    python benchmarks/prompt_calls.py --train stsa.binary.train --calls 20
    python benchmarks/prompt_calls.py --train stsa.binary.train --form causal --dtype bfloat16

The reference's loop is a thin port of what its code does on today's transformers (Black-Box-Tuning at e4013f7, MIT): one
candidate at a time, all examples padded to the longest in one batch, added rows through hooks, and logits of the whole
vocabulary at every position. All arms score the same candidates; the largest difference of their losses is reported.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lmscope.jobs.prompt_data import PromptPlace, TaskData, open_data
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.config import EvolutionConfig, ProjectionConfig
from lmscope.prompting.layouts import layer_weights
from lmscope.prompting.losses import cross_entropy
from lmscope.prompting.method import MethodConfig, build_blocks, subspaces
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer
from lmscope.text.tasks.choices.rendering import PromptRows
from measure import interleaved_ms, machine, parser, report


class ReferenceLoop:
    """The reference's way to score: serial, padded, with the full head."""

    def __init__(self, model: LanguageModel, rows: PromptRows) -> None:
        self.model, self.rows = model, rows
        texts = [(*row.before, *rows.prompt, *row.after) for row in rows.rows]
        length = max(map(len, texts))
        self.tokens = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
        self.mask = torch.tensor([[i < len(text) for i in range(length)] for text in texts]).long()
        self.begins = torch.tensor([len(row.before) for row in rows.rows])
        self.answers = torch.tensor([row.answer_at for row in rows.rows])
        self.labels = torch.tensor([row.label for row in rows.rows])

    @torch.no_grad()
    def losses(self, prompts: Prompts) -> Tensor:
        """One candidate after another."""
        return torch.cat([self._loss(prompts.take(i, i + 1)) for i in range(len(prompts))])

    def _loss(self, prompts: Prompts) -> Tensor:
        hf, n = self.model.hf, len(self.rows.prompt)
        places = self.begins[:, None] + torch.arange(n)
        every = torch.arange(len(places))[:, None]
        embeds = hf.get_input_embeddings()(self.tokens)
        if 0 in prompts.added:
            embeds[every, places] += prompts.added[0][0].to(embeds)
        blocks = hf.base_model.get_submodule(self.model.family.blocks)
        handles = []
        for layer, rows in prompts.added.items():
            if layer > 0:
                handles.append(
                    blocks[layer].register_forward_pre_hook(_adds(every, places, rows[0]))
                )
        try:
            logits = hf(inputs_embeds=embeds, attention_mask=self.mask, use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()
        found = logits[torch.arange(len(logits)), self.answers][:, list(self.rows.words)].float()
        return cross_entropy(found[None], self.labels)

    def flops(self) -> float:
        """Of one candidate, head included: two for each weight and token."""
        weights = layer_weights(self.model) * self.model.n_layers
        return 2.0 * self.tokens.numel() * (weights + self.model.d_model * self.model.d_vocab)


def _adds(every: Tensor, places: Tensor, rows: Tensor) -> Callable[..., None]:
    def add(_module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0][every, places] += rows.to(args[0])

    return add


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--model", default="smollm2-135m-instruct-q4")
    options.add_argument("--task", default="sst2")
    options.add_argument("--train", required=True)
    options.add_argument("--form", default="postfix")
    options.add_argument("--calls", type=int, default=20, help="candidates of one round")
    options.add_argument(
        "--layer", type=int, default=15, help="where candidates begin in the last arm"
    )
    options.add_argument("--dtype", default="float32")
    options.set_defaults(rounds=3)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    record = machine(asked.threads, asked.device)
    model = LanguageModel.load(asked.model, dtype=asked.dtype, device=asked.device)
    data = TaskData(task=asked.task, form=asked.form, train=asked.train)
    rows = open_data(data, PromptPlace(), model).train
    search, method = EvolutionConfig(popsize=max(4, asked.calls)), MethodConfig(kind="joint")
    spaces = subspaces(model, rows, method, ProjectionConfig(alpha=0.2), search, seed=0)
    block = build_blocks(spaces, method, search).blocks[0]
    drawn = block.search.ask()[: asked.calls]
    deep = block.prompts(drawn)
    upper = Prompts({at: value for at, value in deep.added.items() if at >= asked.layer})
    reference, plain = ReferenceLoop(model, rows), ModelScorer(model, rows, kind="whole")
    shared = ModelScorer(model, rows)
    level = shared.level(asked.layer, Prompts({}))

    def scored(scorer: ModelScorer, prompts: Prompts, start: object = None) -> Tensor:
        return cross_entropy(scorer.scores(prompts, start), scorer.labels)  # pyright: ignore

    want, above = reference.losses(deep), reference.losses(upper)
    record["largest_loss_difference"] = {
        "whole": float((scored(plain, deep) - want).abs().max()),
        shared.layout.kind: float((scored(shared, deep) - want).abs().max()),
        f"from layer {asked.layer}": float((scored(shared, upper, level) - above).abs().max()),
    }
    cases = {
        "reference": lambda: reference.losses(deep),
        "whole": lambda: scored(plain, deep),
        shared.layout.kind: lambda: scored(shared, deep),
        f"from layer {asked.layer}": lambda: scored(shared, upper, level),
    }
    flops = {"reference": reference.flops() * asked.calls}
    for name, scorer, prompts, start in (
        ("whole", plain, deep, None),
        (shared.layout.kind, shared, deep, None),
        (f"from layer {asked.layer}", shared, upper, level),
    ):
        before = scorer.flops
        scorer.scores(prompts, start)
        flops[name] = scorer.flops - before
    times = interleaved_ms(cases, rounds=asked.rounds, warmup=1, clock=asked.clock)
    base = times["reference"]["median"]
    record |= {
        "task": asked.task,
        "form": asked.form,
        "dtype": asked.dtype,
        "n_examples": len(rows.rows),
        "n_prompt": len(rows.prompt),
        "calls_per_round": asked.calls,
    }
    record["arms"] = {
        name: {
            "calls_per_s": asked.calls / (times[name]["median"] / 1000),
            "times_the_reference": base / times[name]["median"],
            "gflop_per_call": flops[name] / asked.calls / 1e9,
            "ms": times[name],
        }
        for name in cases
    }
    report(record, asked.json)


if __name__ == "__main__":
    main()
