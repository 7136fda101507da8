"""Passes that go on from a memory give what whole passes give, and leave it as it was."""

import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families

CAUSAL = [
    name
    for name, family in known_families().items()
    if family.causal and family.attention is not None
]


def _rows(model, *lengths, seed=0):
    """Rows of random tokens of some lengths, padded on the right."""
    drawn = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[i < n for i in range(max(lengths))] for n in lengths])
    tokens = torch.randint(4, model.d_vocab, mask.shape, generator=drawn) * mask
    return tokens, mask


@pytest.mark.parametrize("family", CAUSAL)
def test_rows_that_share_a_memory_equal_whole_rows(family) -> None:
    model = miniature(family)
    (before, _), (after, mask) = _rows(model, 5), _rows(model, 4, 2, 3, seed=1)
    memory = model.remember(Batch(tokens=before))
    cache = memory.cache(torch.zeros(3, dtype=torch.long))
    got = model(Batch(tokens=after, mask=mask, cache=cache)).logits
    again = model(Batch(tokens=after, mask=mask, cache=cache)).logits
    whole = torch.cat([before.expand(3, -1), after], 1)
    whole_mask = torch.cat([torch.ones(3, 5, dtype=torch.bool), mask], 1)
    want = model(Batch(tokens=whole, mask=whole_mask)).logits[:, 5:]
    torch.testing.assert_close(got[mask], want[mask], atol=2e-5, rtol=1e-4)
    assert torch.equal(got, again)


@pytest.mark.parametrize("family", CAUSAL)
def test_texts_of_unlike_length_are_gone_on_from_at_their_own_ends(family) -> None:
    wide = {"sliding_window": 64} if family.startswith("gemma") else {}
    model = miniature(family, **wide)  # a narrow window would count the padding between
    (before, mask), (after, _) = _rows(model, 3, 6), _rows(model, 2, 2, seed=1)
    memory = model.remember(Batch(tokens=before, mask=mask))
    rows = torch.tensor([1, 0, 1])
    got = model(Batch(tokens=after[[0, 1, 1]], cache=memory.cache(rows))).logits
    for i, (text, end) in enumerate(zip([1, 0, 1], [0, 1, 1], strict=True)):
        alone = torch.cat([before[text][mask[text]], after[end]])[None]
        want = model(Batch(tokens=alone)).logits[0, -2:]
        torch.testing.assert_close(got[i], want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_memory_can_be_filled_and_used_from_a_layer_on(family) -> None:
    model, layer = miniature(family), Site("resid_pre", 1)
    (before, _), (after, _) = _rows(model, 5), _rows(model, 4, 4, seed=1)
    rows = torch.zeros(2, dtype=torch.long)
    whole = model.remember(Batch(tokens=before))
    value = model.read(Batch(tokens=before), [layer])[layer]
    upper = model.remember(Batch(tokens=before), site=layer, value=value)
    assert upper.keys[0] is None
    for i in (1, 2):
        assert torch.equal(upper.keys[i], whole.keys[i])
    at_layer = Batch(tokens=after, cache=whole.cache(rows))
    entering = model.read(at_layer, [layer])[layer]
    batch = Batch(tokens=after, cache=upper.cache(rows))
    got = model.resume(layer, entering, batch, ["final"])[Site("final")]
    want = model.read(at_layer, ["final"])[Site("final")]
    assert torch.equal(got, want)


def test_edits_reach_what_is_remembered() -> None:
    model = miniature("llama")
    before, _ = _rows(model, 5)
    clean = model.remember(Batch(tokens=before))
    with model.edit({"resid_pre@1": lambda value, _at: value + 1}):
        edited = model.remember(Batch(tokens=before))
    assert torch.equal(clean.keys[0], edited.keys[0])
    assert not torch.equal(clean.keys[1], edited.keys[1])


@pytest.mark.parametrize("family", ["bert", "mamba"])
def test_a_model_without_keys_of_earlier_tokens_says_so(family) -> None:
    model = miniature(family)
    with pytest.raises(ModelError, match="has no keys and values"):
        model.remember(Batch(tokens=torch.tensor([[5, 6]])))
