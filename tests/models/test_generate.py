"""Generation with the cache, against a naive loop that reads the whole text for every token."""

import pytest
import torch

from lmscope.core.errors import DataError, ModelError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.generate import (
    GenerationOptions,
    generate,
    prompt_batch,
    stream_tokens,
    token_batch,
)
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families

CAUSAL = sorted(name for name, family in known_families().items() if family.causal)
SITE = Site("resid_post", 1)
SEVEN = GenerationOptions(n_tokens=7, stop_at_end=False)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return miniature("llama")


def naive(model, prompt, n_tokens, edits=None):
    """Greedy tokens, the whole text read anew for each; and the two best logits' least distance."""
    row, gap = list(prompt), float("inf")
    for _ in range(n_tokens):
        with model.edit(edits or {}):
            logits = model(Batch(tokens=torch.tensor([row]))).logits[0, -1]
        best = logits.topk(2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        row.append(int(best.indices[0]))
    return tuple(row[len(prompt) :]), gap


def push(x, at):
    """Depends on the position, so that a cached pass told the wrong one would differ."""
    return x + torch.sin(at.positions[..., None] + torch.arange(x.shape[-1])) * 2


@pytest.mark.parametrize("family", CAUSAL)
def test_rows_of_unequal_length_go_on_as_each_alone_does(family: str) -> None:
    model, edits = miniature(family), {SITE: push}
    found = generate(model, prompt_batch(model, ["A longer prompt", "Hi"]), SEVEN, edits)
    for row in found:
        expected, gap = naive(model, row.prompt, 7, edits)
        assert gap > 1e-4  # otherwise rounding could decide
        assert row.tokens == expected


def test_prompts_are_padded_on_the_left_after_bos(llama: LanguageModel) -> None:
    batch = prompt_batch(llama, ["abc", "x"])
    assert batch.tokens is not None
    assert batch.text_mask().tolist() == [[True] * 4, [False, False, True, True]]
    assert batch.tokens[1, 2] == llama.bos_id


def test_log_probs_are_those_of_the_edited_model(llama: LanguageModel) -> None:
    (found,) = generate(llama, prompt_batch(llama, "abc"), SEVEN, {SITE: push})
    whole = Batch(tokens=torch.tensor([found.prompt + found.tokens]))
    with llama.edit({SITE: push}):
        expected = llama(whole).logits[0].log_softmax(-1)
    places = range(len(found.prompt) - 1, len(found.prompt) + 6)
    wanted = [float(expected[p, t]) for p, t in zip(places, found.tokens, strict=True)]
    assert found.log_probs == pytest.approx(wanted, abs=1e-4)


def test_equal_seeds_draw_equal_tokens_and_others_do_not(llama: LanguageModel) -> None:
    batch = prompt_batch(llama, ["abc", "abc"])

    def draw(seed):
        return generate(llama, batch, SEVEN.model_copy(update={"temperature": 2.0, "seed": seed}))

    first, again, other = draw(1), draw(1), draw(2)
    assert [row.tokens for row in first] == [row.tokens for row in again]
    assert first[0].tokens != other[0].tokens
    assert first[0].tokens != first[1].tokens  # each row has its own stream


def test_a_row_draws_the_same_beside_others(llama: LanguageModel) -> None:
    options = SEVEN.model_copy(update={"temperature": 1.0})
    alone = generate(llama, prompt_batch(llama, "abc"), options)
    beside = generate(llama, prompt_batch(llama, ["abc", "something longer"]), options)
    assert alone[0].tokens == beside[0].tokens


def test_draws_follow_the_distribution(llama: LanguageModel) -> None:
    batch = token_batch(llama, [[llama.bos_id, 30]] * 2000)
    options = GenerationOptions(n_tokens=1, temperature=15)
    step = next(iter(stream_tokens(llama, batch, options)))
    expected = (llama(batch).logits[0, -1] / 15).softmax(-1)
    found = torch.bincount(step.tokens, minlength=llama.d_vocab) / 2000
    # Total variation of 2,000 draws over 101 outcomes is about sqrt(101 / (2 pi 2000)) = 0.09.
    assert float((found - expected).abs().sum() / 2) < 0.12
    greedy = torch.zeros_like(expected)
    greedy[expected.argmax()] = 1
    assert float((greedy - expected).abs().sum() / 2) > 0.3


@pytest.mark.parametrize("limit", [{"top_k": 3}, {"top_p": 0.2}])
def test_draws_stay_among_the_most_probable(llama: LanguageModel, limit) -> None:
    batch = token_batch(llama, [[llama.bos_id, 30]] * 300)
    options = GenerationOptions(n_tokens=1, temperature=3.0, **limit)
    step = next(iter(stream_tokens(llama, batch, options)))
    chances, order = (llama(batch).logits[0, -1].double() / 3).softmax(-1).sort(descending=True)
    n_kept = 3 if "top_k" in limit else int((chances.cumsum(-1) < 0.2).sum()) + 1
    assert n_kept < 30
    assert set(step.tokens.tolist()) == set(order[:n_kept].tolist())


def test_a_row_ends_with_the_end_token_and_the_others_go_on(llama: LanguageModel) -> None:
    end = llama.tokenizer.eos_token_id

    def end_first_row_at_third(x, at):
        out = x.clone()
        if at.step == 2:
            out[at.rows == 0, :, end] = 1e4
        return out

    batch = prompt_batch(llama, ["abc", "xyz"])
    edits = {"logits": end_first_row_at_third}
    first, second = generate(llama, batch, GenerationOptions(n_tokens=6), edits)
    assert first.tokens[2:] == (end,)
    assert len(first.log_probs) == 3
    expected, _ = naive(llama, second.prompt, 6)
    assert second.tokens == expected[: len(second.tokens)]
    assert "<eos>" not in first.text


def test_the_model_is_unedited_between_two_tokens(llama: LanguageModel) -> None:
    batch = prompt_batch(llama, "abc")
    clean = llama(batch).logits
    for _ in stream_tokens(llama, batch, SEVEN, {SITE: push}):
        assert torch.equal(llama(batch).logits, clean)


def test_edits_are_made_for_each_pass(llama: LanguageModel) -> None:
    shapes = []

    def make(batch):
        shapes.append((batch.shape, batch.cache is None))
        return {}

    generate(
        llama, prompt_batch(llama, "abc"), GenerationOptions(n_tokens=3, stop_at_end=False), make
    )
    assert shapes == [((1, 4), True), ((1, 1), False), ((1, 1), False)]


def test_a_chat_prompt_goes_through_the_template() -> None:
    model = miniature("llama")
    with pytest.raises(ModelError, match="has no chat template"):
        prompt_batch(model, "hi", chat=True)
    model.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}"
    )
    batch = prompt_batch(model, "hi", chat=True)
    assert batch.tokens is not None
    assert model.tokenizer.decode(batch.tokens[0]) == "[user]hi>"


@pytest.mark.parametrize("prompts", [[], [""], ["a", ""]])
def test_an_empty_prompt_is_refused(llama: LanguageModel, prompts) -> None:
    with pytest.raises(DataError, match="nothing to go on from"):
        prompt_batch(llama, prompts)


def test_padding_on_the_right_is_refused(llama: LanguageModel) -> None:
    with pytest.raises(DataError, match="pad on the left"):
        generate(llama, llama.batch(["abc", "x"]), SEVEN)


def test_more_tokens_than_positions_are_refused(llama: LanguageModel) -> None:
    with pytest.raises(ModelError, match="shorten one of them"):
        generate(llama, prompt_batch(llama, "abc"), GenerationOptions(n_tokens=10**6))


def test_an_encoder_is_refused() -> None:
    model = miniature("bert")
    with pytest.raises(ModelError, match="cannot go on with a text"):
        generate(model, token_batch(model, [[3, 4]]), SEVEN)
