"""Every fast way of scoring equals the plain one: each row alone, whole, with the full head."""

import pytest
import torch

from lmscope.core.errors import DataError, ModelError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families
from lmscope.prompting.prompts import Prompts, joined, prompt_site
from lmscope.prompting.scorer import ModelScorer, score_rows
from lmscope.text.tasks.choices.rendering import PromptRows

PLACES = ("ahead", "behind", "between")
FAMILIES = sorted(known_families())
ATTENTION = [n for n in FAMILIES if known_families()[n].causal and known_families()[n].attention]


def _wide(name: str):
    """A miniature whose windows, where it has them, hold every example."""
    return miniature(name, **({"sliding_window": 64} if name.startswith("gemma") else {}))


def _prompts(model, layers, n=4, n_prompt=3, seed=1, size=0.5):
    drawn = torch.Generator().manual_seed(seed)
    shape = (n, n_prompt, model.d_model)
    return Prompts({layer: size * torch.randn(shape, generator=drawn) for layer in layers})


def _plain(model, rows, prompts):
    """A loop over candidates and rows, with logits of the whole vocabulary at every position."""
    found = torch.zeros(len(prompts), len(rows.rows), len(rows.words))
    for c in range(len(prompts)):
        for e, row in enumerate(rows.rows):
            tokens = torch.tensor([[*row.before, *rows.prompt, *row.after]])
            first = len(row.before)

            def adds(layer, c=c, first=first):
                rows_added = prompts.added[layer]
                rows_added = rows_added[c if len(rows_added) > 1 else 0]

                def add(value, _at):
                    value[:, first : first + len(rows_added)] += rows_added
                    return value

                return add

            with model.edit({prompt_site(layer): adds(layer) for layer in prompts.layers}):
                logits = model(Batch(tokens=tokens)).logits
            found[c, e] = logits[0, row.answer_at, list(rows.words)]
    return found


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_those_of_rows_that_run_alone(family, place, random_rows) -> None:
    model = _wide(family)
    rows, prompts = random_rows(model, place), _prompts(model, (0, 1, 2))
    scorer = ModelScorer(model, rows, overhead=4)
    want = _plain(model, rows, prompts)
    torch.testing.assert_close(scorer.scores(prompts), want, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("place", "kind"), [("ahead", "shared"), ("behind", "held"), ("between", "held")]
)
def test_the_cheapest_way_is_found(place, kind, random_rows) -> None:
    model = miniature("llama")
    assert ModelScorer(model, random_rows(model, place)).layout.kind == kind
    encoder = miniature("bert")
    assert ModelScorer(encoder, random_rows(encoder, place)).layout.kind == "whole"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_nothing_added_is_the_manual_prompt_to_the_last_bit(family, place, random_rows) -> None:
    model = miniature(family)
    scorer = ModelScorer(model, random_rows(model, place))
    zero = Prompts({layer: torch.zeros(1, 3, model.d_model) for layer in (0, 2)})
    assert torch.equal(scorer.scores(zero), scorer.scores(Prompts({})))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "bert", "mamba"])
def test_candidates_together_equal_candidates_alone(family, place, random_rows) -> None:
    model = _wide(family)
    scorer, prompts = ModelScorer(model, random_rows(model, place)), _prompts(model, (0, 1))
    together = scorer.scores(prompts)
    alone = torch.cat([scorer.scores(prompts.take(i, i + 1)) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    few = ModelScorer(model, random_rows(model, place), tokens_at_once=1)
    torch.testing.assert_close(few.scores(prompts), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "family", ["llama", "gemma2", "gpt2", "gpt_neox", "bert", "roberta", "mamba"]
)
def test_candidates_that_begin_at_a_layer_equal_those_that_run_whole(
    family, place, random_rows
) -> None:
    model = _wide(family)
    scorer = ModelScorer(model, random_rows(model, place), overhead=4)
    below, above = _prompts(model, (0, 1), n=1), _prompts(model, (2,), seed=2)
    level = scorer.level(2, below)
    want = scorer.scores(below.with_layers(above.added))
    torch.testing.assert_close(scorer.scores(above, level), want, atol=1e-5, rtol=1e-5)
    stepwise = scorer.level(2, below, scorer.level(1, below))
    for one, two in zip(level.values, stepwise.values, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_the_order_of_examples_and_candidates_only_permutes(place, random_rows) -> None:
    model = miniature("llama")
    rows, prompts = random_rows(model, place), _prompts(model, (0, 1))
    turned = PromptRows(rows.prompt, rows.words, rows.rows[::-1], 0)
    back = Prompts({layer: value.flip(0) for layer, value in prompts.added.items()})
    found = ModelScorer(model, turned).scores(back)
    want = ModelScorer(model, rows).scores(prompts).flip(0, 1)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_examples_in_parts_equal_examples_together(place, random_rows) -> None:
    model = miniature("llama")
    rows, prompts = random_rows(model, place, n=7), _prompts(model, (0, 1), n=2)
    found = score_rows(model, rows, [prompts.take(0, 1), prompts.take(1, 2)], at_once=3)
    want = ModelScorer(model, rows).scores(prompts)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


def test_half_the_layers_cost_half(random_rows) -> None:
    model = miniature("llama", num_hidden_layers=4)
    scorer, prompts = ModelScorer(model, random_rows(model, "behind")), _prompts(model, (2,))
    scorer.scores(prompts)
    whole = scorer.flops
    level = scorer.level(2, Prompts({}))
    before = scorer.flops
    scorer.scores(prompts, level)
    assert scorer.flops - before == pytest.approx(whole / 2)


def test_gradients_reach_what_is_added(random_rows) -> None:
    model = miniature("llama")
    scorer = ModelScorer(model, random_rows(model, "ahead"), kind="whole")
    added = torch.zeros(1, 3, model.d_model, requires_grad=True)
    scorer.scores(Prompts({1: added}), grad=True).sum().backward()
    assert added.grad is not None
    assert added.grad.abs().sum() > 0
    shared = ModelScorer(model, random_rows(model, "ahead"))
    with pytest.raises(ModelError, match="keeps no gradient"):
        shared.scores(Prompts({1: added}), grad=True)


def test_what_cannot_be_is_refused(random_rows) -> None:
    model, rows = miniature("llama"), random_rows(miniature("llama"), "behind")
    with pytest.raises(DataError, match="no example to score"):
        ModelScorer(model, PromptRows(rows.prompt, rows.words, (), 3))
    with pytest.raises(ModelError, match="examples cannot share it"):
        ModelScorer(model, rows, kind="shared")
    with pytest.raises(ModelError, match="keeps no keys and values"):
        ModelScorer(miniature("bert"), rows, kind="held")


def test_a_text_longer_than_a_window_runs_whole(random_rows) -> None:
    model = miniature("gemma3")
    rows = random_rows(model, "behind")
    assert ModelScorer(model, rows).layout.kind == "whole"
    wide = miniature("gemma3", sliding_window=64)
    assert ModelScorer(wide, rows).layout.kind == "held"


def test_candidates_are_joined_in_order() -> None:
    model = miniature("llama")
    one, two = _prompts(model, (0, 1), n=1), _prompts(model, (0, 1), n=2, seed=5)
    both = joined([one, two])
    assert len(both) == 3
    assert torch.equal(both.take(1, 3).added[1], two.added[1])
    assert prompt_site(0) == Site("embed")
