"""Every family keeps what a Family promises; a new one is picked up by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from transformers.activations import ACT2FN

from lmscope.core.errors import ModelError, SiteError
from lmscope.core.site import ATTENTION_PARTS, Site
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families

Model = LanguageModel
STREAM_PARTS = ("resid_pre", "attn_out", "mixer_out", "resid_mid", "mlp_out", "resid_post")


@pytest.fixture(scope="module", params=sorted(known_families()))
def model(request: pytest.FixtureRequest) -> Model:
    return miniature(request.param)


@pytest.fixture(scope="module")
def batch(model: Model) -> Batch:
    """Two rows, the second padded on the right."""
    tokens = torch.randint(10, model.d_vocab, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    return Batch(tokens=tokens, mask=mask)


def has(model: Model, part: str) -> bool:
    return part in model.family.parts


def probed(model: Model) -> tuple[Site, ...]:
    """Every part once: the sites of the middle layer and those outside the layers."""
    return tuple(site for site in model.sites() if site.layer in (None, 1))


def need(model: Model, *parts: str) -> None:
    if not all(has(model, part) for part in parts):
        pytest.skip("the family has no such part")


def noise_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)


def logits(model: Model, batch: Batch) -> Tensor:
    return model(batch).logits


def hooks(model: Model) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in m.__dict__)
        for m in model.hf.modules()
    )


@contextmanager
def counting_mixers(model: Model) -> Iterator[list[int]]:
    """The layers whose attention or state-space mixer ran, in order."""
    path = model.family.attention.path if model.family.attention else "mixer"
    ran: list[int] = []
    handles = [
        block.get_submodule(path).register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(model.hf.base_model.get_submodule(model.family.blocks))  # type: ignore[arg-type]
    ]
    yield ran
    for handle in handles:
        handle.remove()


def under_one_attention(model: Model, site: Site, run: Callable[[], Tensor]) -> Tensor:
    """Compute as the site's tap makes the model compute."""
    if site.part not in ATTENTION_PARTS:
        return run()
    with model.open_attention():
        return run()


# reading


def test_every_site_reads_at_its_width(model: Model, batch: Batch):
    values = model.read(batch, model.sites())
    assert tuple(values) == model.sites()
    for site, value in values.items():
        assert value.shape[0] == 2
        assert not value.requires_grad
        if site.part in ("scores", "pattern"):
            assert value.shape == (2, model.n_heads, 9, 9)
            with pytest.raises(SiteError, match="no fixed width"):
                model.width(site)
        else:
            assert value.shape[1] == 9
            assert value.flatten(2).shape[2] == model.width(site)


def test_reading_many_sites_at_once_equals_reading_each(model: Model, batch: Batch):
    with model.open_attention():
        together = model.read(batch, model.sites())
        for site in probed(model):
            assert torch.equal(together[site], model.read(batch, [site])[site]), site


def test_a_read_stops_after_its_deepest_site(model: Model, batch: Batch):
    with counting_mixers(model) as ran:
        for site, n in {"embed": 0, "resid_pre@1": 1, "resid_post@0": 1, "resid_post@1": 2}.items():
            ran.clear()
            model.read(batch, [site, "embed"])
            assert ran == list(range(n)), site
    head_ran: list[bool] = []
    head = model.hf.get_output_embeddings()
    handle = head.register_forward_hook(lambda *_: head_ran.append(True))
    model.read(batch, ["final"])
    assert not head_ran
    handle.remove()


def test_values_are_those_that_transformers_itself_reports(model: Model, batch: Batch):
    """Its eager attention, its own positions: right padding with the padding id needs no help."""
    text, pad = batch.text_mask(), model.tokenizer.pad_token_id
    assert batch.tokens is not None
    tokens = batch.tokens.masked_fill(~text, pad)
    usual, attends = model.hf.config._attn_implementation, model.family.attention is not None
    if attends:
        model.hf.set_attn_implementation("eager")
    reported = model.hf(
        input_ids=tokens,
        attention_mask=text.long(),
        output_hidden_states=True,
        **({"output_attentions": True} if attends else {}),
    )
    if attends:
        model.hf.set_attn_implementation(usual)
    values = model.read(Batch(tokens=tokens, mask=text), model.sites())
    # Mamba's own list leaves out the embeddings.
    first = 1 if model.family.arrangement == "mixer" else 0
    for layer in range(first, model.n_layers):
        mine = values[Site("resid_pre", layer)]
        torch.testing.assert_close(mine[text], reported.hidden_states[layer - first][text])
    for layer in range(model.n_layers if attends else 0):
        pattern = values[Site("pattern", layer)].transpose(1, 2)[text]
        torch.testing.assert_close(pattern, reported.attentions[layer].transpose(1, 2)[text])
    torch.testing.assert_close(values[Site("final")][text], reported.hidden_states[-1][text])
    torch.testing.assert_close(values[Site("logits")][text], reported.logits[text])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_padding_on_either_side_gives_equal_values(model: Model, dtype: torch.dtype):
    small = miniature(model.family.name)
    small.hf.to(dtype)
    row = torch.randint(10, model.d_vocab, (1, 6), generator=torch.Generator().manual_seed(2))
    filler = torch.zeros(1, 3, dtype=torch.long)
    left = Batch(tokens=torch.cat([filler, row], 1), mask=torch.tensor([[False] * 3 + [True] * 6]))
    right = Batch(tokens=torch.cat([row, filler], 1), mask=torch.tensor([[True] * 6 + [False] * 3]))
    sites = [s for s in small.sites() if s.part not in ("scores", "pattern")]
    from_left, from_right = small.read(left, sites), small.read(right, sites)
    alone = small.read(Batch(tokens=row), sites)
    tolerance = 2e-5 if dtype == torch.float32 else 0.15
    for site in sites:
        for value in (from_left[site][:, 3:], from_right[site][:, :6]):
            scale = alone[site].float().abs().max()
            assert ((value - alone[site]).float().abs().max() <= tolerance * scale).item(), site


# the stream


def check_stream(model: Model, values: dict[Site, Tensor]) -> None:
    """The residual identities of the family's arrangement, on whatever values were read."""

    def value(part: str, layer: int) -> Tensor:
        return values[Site(part, layer)]

    for layer in range(model.n_layers):
        pre, post = value("resid_pre", layer), value("resid_post", layer)
        first, second = value("mixer_out", layer), None
        if has(model, "mlp_out"):
            second = value("mlp_out", layer)
        match model.family.arrangement:
            case "sequential":
                assert torch.equal(value("resid_mid", layer), pre + first)
                assert torch.equal(post, value("resid_mid", layer) + second)
            case "parallel":
                assert second is not None
                assert torch.equal(post, second + first + pre)
            case "post_norm":
                norm = model.weights.norm
                mid = value("resid_mid", layer)
                assert torch.equal(mid, norm("resid_mid", layer)(first + pre))
                assert second is not None
                assert torch.equal(post, norm("resid_post", layer)(second + mid))
            case "mixer":
                assert torch.equal(post, pre + first)
        if layer + 1 < model.n_layers:
            assert torch.equal(value("resid_pre", layer + 1), post)


def stream_sites(model: Model) -> tuple[Site, ...]:
    return model.resolve([f"{part}@*" for part in STREAM_PARTS if has(model, part)])


def test_the_stream_is_the_sum_of_what_is_added(model: Model, batch: Batch):
    check_stream(model, model.read(batch, stream_sites(model)))


@pytest.mark.parametrize("part", [*STREAM_PARTS, "z", "attn_in", "mlp_in", "attn_norm"])
def test_the_stream_adds_up_with_an_edited_value_in_it(model: Model, batch: Batch, part: str):
    need(model, part)
    new: list[Tensor] = []

    def replace(x: Tensor, _at: object) -> Tensor:
        new.append(noise_like(x))
        return new[-1]

    edited = Site(part, 1)
    with model.edit({edited: replace}):
        values = model.read(batch, [*stream_sites(model), edited])
    assert torch.equal(values[edited], new[0])
    # A replaced sum is no longer the sum of its terms; all that follows adds up with it.
    if part == "resid_mid":
        values[Site("mixer_out", 1)] = new[0] - values[Site("resid_pre", 1)]
        mid = new[0]
        second = values[Site("mlp_out", 1)]
        expected = mid + second
        if model.family.arrangement == "post_norm":
            expected = model.weights.norm("resid_post", 1)(second + mid)
        assert torch.equal(values[Site("resid_post", 1)], expected)
        assert torch.equal(values[Site("resid_pre", 2)], expected)
    elif part in ("resid_pre", "resid_post"):
        rest = {s: v for s, v in values.items() if s.layer == 2}
        assert torch.equal(rest[Site("resid_pre", 2)], values[Site("resid_post", 1)])
    else:
        check_stream(model, values)


def test_an_edited_resid_mid_feeds_both_branches(model: Model, batch: Batch):
    need(model, "resid_mid")
    with model.edit({"resid_mid@1": lambda x, _: noise_like(x)}):
        values = model.read(batch, ["resid_mid@1", "mlp_in@1", "mlp_out@1", "resid_post@1"])
    mid, branch = values[Site("resid_mid", 1)], values[Site("mlp_in", 1)]
    after = model.family.arrangement == "post_norm"
    expected = mid if after else model.weights.norm("mlp_norm", 1)(mid)
    assert torch.equal(branch, expected)
    total = mid + values[Site("mlp_out", 1)]
    expected = model.weights.norm("resid_post", 1)(total) if after else total
    assert torch.equal(values[Site("resid_post", 1)], expected)


def test_an_edited_resid_pre_is_what_the_block_starts_from(model: Model, batch: Batch):
    with model.edit({"resid_pre@1": lambda x, _: noise_like(x)}):
        values = model.read(batch, stream_sites(model))
    del values[Site("resid_post", 0)]
    pre, first = values[Site("resid_pre", 1)], values[Site("mixer_out", 1)]
    assert torch.equal(pre, noise_like(pre))
    if has(model, "resid_mid"):
        total = first + pre
        after = model.family.arrangement == "post_norm"
        expected = model.weights.norm("resid_mid", 1)(total) if after else total
        assert torch.equal(values[Site("resid_mid", 1)], expected)


def test_mixer_sites_are_the_attention_sites(model: Model, batch: Batch):
    need(model, "attn_in", "attn_out")
    values = model.read(batch, ["attn_in@1", "mixer_in@1", "attn_out@1", "mixer_out@1"])
    assert torch.equal(values[Site("attn_in", 1)], values[Site("mixer_in", 1)])
    assert torch.equal(values[Site("attn_out", 1)], values[Site("mixer_out", 1)])


# editing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_identity_edit_changes_no_bit(model: Model, batch: Batch, dtype: torch.dtype):
    same = miniature(model.family.name)
    same.hf.to(dtype)
    for site in probed(same):
        clean = under_one_attention(same, site, lambda: logits(same, batch))
        for identity in (lambda x, _: x, lambda x, _: x.clone(), lambda x, _: x + torch.zeros(1)):
            with same.edit({site: identity}):
                assert torch.equal(logits(same, batch), clean), site


def test_a_random_edit_at_any_site_bites(model: Model, batch: Batch):
    for site in probed(model):
        clean = under_one_attention(model, site, lambda: logits(model, batch))
        with model.edit({site: lambda x, _: x + noise_like(x)}):
            assert not torch.allclose(logits(model, batch), clean, atol=1e-3), site


def test_an_edit_that_writes_in_place_is_an_edit_like_any_other(model: Model, batch: Batch):
    for site in probed(model):
        with model.edit({site: lambda x, _: x + 1.5 * x.sin()}):
            expected = logits(model, batch)
        with model.edit({site: lambda x, _: x.add_(1.5 * x.sin())}):
            assert torch.equal(logits(model, batch), expected), site
    with model.edit({"resid_pre@1": lambda x, _: x.zero_()}):
        values = model.read(batch, ["resid_post@0", "resid_pre@1"])
    clean = model.read(batch, ["resid_post@0"])
    assert torch.equal(values[Site("resid_post", 0)], clean[Site("resid_post", 0)])
    assert not values[Site("resid_pre", 1)].any()


def test_an_edit_of_the_last_position_leaves_the_past_alone(model: Model, batch: Batch):
    if not model.is_causal:
        pytest.skip("an encoder sees both ways")

    def last_only(x: Tensor, _at: object) -> Tensor:
        x = x.clone()
        x[:, -1] += noise_like(x[:, -1])
        return x

    clean = logits(model, batch)
    for site in probed(model):
        if site.part in ATTENTION_PARTS:
            continue
        with model.edit({site: last_only}):
            edited = logits(model, batch)
        torch.testing.assert_close(edited[:, :-1], clean[:, :-1])
        assert not torch.allclose(edited[:, -1], clean[:, -1]), site


def test_edits_carry_the_gradient_of_their_parameters(model: Model, batch: Batch):
    """The derivative along x -> x (1 + p x) against a central difference."""
    weight = noise_like(logits(model, batch)) / 100

    def loss(site: Site, p: Tensor) -> Tensor:
        # multiplying by p makes autograd keep x, which a write into x would destroy
        with model.edit({site: lambda x, _: x * (1 + p * x)}):
            return (logits(model, batch) * weight).double().sum()

    for site in probed(model):
        p = torch.zeros((), requires_grad=True)
        (slope,) = torch.autograd.grad(loss(site, p), p)
        step = torch.tensor(2e-3)
        with torch.no_grad():
            expected = (loss(site, step) - loss(site, -step)) / (2 * step)
        bound = 0.05 * max(1.0, abs(expected.item()))
        assert abs(slope.item() - expected.item()) < bound, (site, slope, expected)


def test_reads_keep_their_gradient_when_asked(model: Model, batch: Batch):
    p = torch.zeros(model.d_model, requires_grad=True)
    with model.edit({"resid_pre@1": lambda x, _: x + p}):
        value = model.read(batch, ["resid_post@1"], grad=True)[Site("resid_post", 1)]
        assert not model.read(batch, ["resid_post@1"])[Site("resid_post", 1)].requires_grad
    (gradient,) = torch.autograd.grad(value.pow(2).sum(), p)
    assert gradient.abs().sum() > 0


def test_nested_edits_apply_in_order_of_entry(model: Model, batch: Batch):
    for site in ("resid_post@1", "mixer_in@1", "final"):
        with (
            model.edit({site: lambda x, _: torch.ones_like(x)}),
            model.edit({site: lambda x, _: x * 3}),
            model.edit({site: lambda x, _: x + 1}),
        ):
            (value,) = model.read(batch, [site]).values()
        assert torch.equal(value, torch.full_like(value, 4.0))


def test_hooks_come_off_whatever_ends_the_block(model: Model, batch: Batch):
    before, usual = hooks(model), model.hf.config._attn_implementation
    clean = logits(model, batch)

    def fail(_x: Tensor, _at: object) -> Tensor:
        raise RuntimeError("broken edit")

    def half(x: Tensor, _at: object) -> Tensor:
        return x[..., :1]

    for site in probed(model):
        with pytest.raises(RuntimeError, match="broken edit"), model.edit({site: fail}):
            logits(model, batch)
        with pytest.raises(SiteError, match="returned shape"), model.edit({site: half}):
            logits(model, batch)
        with pytest.raises(RuntimeError, match="broken edit"), model.edit({site: fail}):
            model.read(batch, [site])
        with pytest.raises(ZeroDivisionError), model.edit({site: lambda x, _: x}):
            _ = 1 / 0
        assert hooks(model) == before, site
        assert model.hf.config._attn_implementation == usual, site
    assert torch.equal(logits(model, batch), clean)


def test_a_site_that_does_not_fire_is_an_error(model: Model, batch: Batch):
    (embeds,) = model.read(batch, ["embed"]).values()
    without_tokens = Batch(embeds=embeds, mask=batch.mask)
    torch.testing.assert_close(logits(model, without_tokens), logits(model, batch))
    with pytest.raises(SiteError, match="'embed' did not fire"):
        model.read(without_tokens, ["embed", "resid_post@1"])
    with (
        model.edit({"embed": lambda x, _: x}),
        pytest.raises(SiteError, match="'embed' did not fire"),
    ):
        model(without_tokens)


def test_absent_parts_say_why(model: Model):
    for part in model.family.absent:
        site = Site(part) if part == "pos_embed" else Site(part, 0)
        with pytest.raises(SiteError, match=model.family.absent[part][:20]):
            model.resolve([site])
    with pytest.raises(SiteError, match="no site 'resid_post@3'"):
        model.resolve(["resid_post@3"])


# resuming


def test_resuming_anywhere_equals_the_full_pass(model: Model, batch: Batch):
    clean = logits(model, batch)
    stream = model.read(batch, ["resid_pre@*", "resid_post@*"])
    before = hooks(model)
    for site, value in stream.items():
        assert torch.equal(model.resume(site, value, batch).logits, clean), site
        (final,) = model.resume(site, value, batch, ["final"]).values()
        assert torch.equal(final, model.read(batch, ["final"])[Site("final")])
    assert hooks(model) == before


def test_resuming_leaves_out_the_layers_below(model: Model, batch: Batch):
    (value,) = model.read(batch, ["resid_pre@1"]).values()
    with counting_mixers(model) as ran:
        for site, above in {"resid_pre@1": [1, 2], "resid_post@1": [2], "resid_post@2": []}.items():
            ran.clear()
            model.resume(site, value, batch)
            assert ran == above, site


def test_resuming_applies_the_edits_from_there_on(model: Model, batch: Batch):
    (value,) = model.read(batch, ["resid_post@0"]).values()
    edits = {"resid_post@0": lambda x, _: x * 0.5, "mixer_out@1": lambda x, _: x + noise_like(x)}
    with model.edit(edits):
        assert torch.equal(model.resume("resid_post@0", value, batch).logits, logits(model, batch))
    with (
        model.edit({"mixer_out@0": lambda x, _: x}),
        pytest.raises(SiteError, match="lies below"),
    ):
        model.resume("resid_post@0", value, batch)
    with pytest.raises(SiteError, match="did not fire"):
        model.resume("resid_post@0", value, batch, ["mixer_out@0"])


# attention


def masked_softmax(model: Model, scores: Tensor, mask: Tensor, layer: int) -> Tensor:
    """The pattern from its scores, by the definition."""
    n = scores.shape[-1]
    query, key = torch.arange(n)[:, None], torch.arange(n)[None]
    seen = mask[:, None, None, :].expand_as(scores).clone()
    if model.is_causal:
        seen &= key <= query
    if (window := model.weights.attention(layer).window) is not None:
        seen &= query - key < window
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


def test_attention_parts_fit_together(model: Model, batch: Batch):
    need(model, "pattern")
    values = model.read(batch, [f"{part}@*" for part in ATTENTION_PARTS])
    text = batch.text_mask()
    for layer in range(model.n_layers):
        q, k, v, scores, pattern, z = (values[Site(part, layer)] for part in ATTENTION_PARTS)
        weights = model.weights.attention(layer)
        shared = [weights.kv_head(h) for h in range(model.n_heads)]
        expected = torch.einsum("bqhd,bkhd->bhqk", q, k[:, :, shared]) * weights.scale
        if weights.softcap is not None:
            expected = weights.softcap * torch.tanh(expected / weights.softcap)
        torch.testing.assert_close(scores, expected)
        expected = masked_softmax(model, scores, text, layer)
        torch.testing.assert_close(pattern.transpose(1, 2)[text], expected.transpose(1, 2)[text])
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, model.n_heads, 9))
        if model.is_causal:
            assert torch.equal(pattern.tril()[0], pattern[0])
        torch.testing.assert_close(z, torch.einsum("bhqk,bkhd->bqhd", pattern, v[:, :, shared]))


def test_an_edited_pattern_is_what_values_are_mixed_by(model: Model, batch: Batch):
    need(model, "pattern")

    def look_at_self(x: Tensor, _at: object) -> Tensor:
        return torch.eye(x.shape[-1]).expand_as(x)

    with model.edit({"pattern@1": look_at_self}):
        values = model.read(batch, ["v@1", "z@1"])
    weights = model.weights.attention(1)
    shared = [weights.kv_head(h) for h in range(model.n_heads)]
    torch.testing.assert_close(values[Site("z", 1)], values[Site("v", 1)][:, :, shared])


# weights


def test_weights_rebuild_queries_keys_and_values(model: Model, batch: Batch):
    need(model, "q")
    values = model.read(batch, ["attn_in@*", "q@*", "k@*", "v@*"])
    for layer in range(model.n_layers):
        weights, x = model.weights.attention(layer), values[Site("attn_in", layer)]
        for part, matrix, bias, norm in (
            ("q", weights.W_Q, weights.b_Q, weights.q_norm),
            ("k", weights.W_K, weights.b_K, weights.k_norm),
            ("v", weights.W_V, weights.b_V, None),
        ):
            expected = torch.einsum("bpm,hmd->bphd", x, matrix)
            expected = expected if bias is None else expected + bias
            expected = expected if norm is None else norm(expected)
            found = values[Site(part, layer)]
            # A rotation leaves position 0 and every norm as they are.
            torch.testing.assert_close(found[:, 0], expected[:, 0])
            torch.testing.assert_close(found.norm(dim=-1), expected.norm(dim=-1))
            if part == "v" or has(model, "pos_embed"):
                torch.testing.assert_close(found, expected)


def test_weights_rebuild_what_is_added(model: Model, batch: Batch):
    need(model, "z", "mlp_hidden")
    values = model.read(batch, model.sites())
    for layer in range(model.n_layers):
        attention, mlp = model.weights.attention(layer), model.weights.mlp(layer)
        out = torch.einsum("bphd,hdm->bpm", values[Site("z", layer)], attention.W_O)
        out = out if attention.b_O is None else out + attention.b_O
        hidden = values[Site("mlp_hidden", layer)]
        second = hidden @ mlp.W_out + (0 if mlp.b_out is None else mlp.b_out)
        if "attn_out" in model.family.norms:
            out, second = (
                model.weights.norm("attn_out", layer)(out),
                model.weights.norm("mlp_out", layer)(second),
            )
        torch.testing.assert_close(values[Site("attn_out", layer)], out, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(values[Site("mlp_out", layer)], second, atol=2e-5, rtol=1e-4)

        x, config = values[Site("mlp_in", layer)], model.hf.config
        names = ("hidden_activation", "activation_function", "hidden_act")
        act = ACT2FN[next(v for n in names if isinstance(v := getattr(config, n, None), str))]
        into = x @ mlp.W_in + (0 if mlp.b_in is None else mlp.b_in)
        if mlp.W_gate is None:
            expected = act(into)
        else:
            gate = x @ mlp.W_gate + (0 if mlp.b_gate is None else mlp.b_gate)
            torch.testing.assert_close(values[Site("mlp_gate", layer)], gate)
            expected = act(gate) * into
        torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=1e-4)


def test_normalised_values_become_inputs_by_gain_and_bias(model: Model, batch: Batch):
    need(model, "attn_norm", "mlp_norm")
    values = model.read(batch, ["attn_norm@*", "attn_in@*", "mlp_norm@*", "mlp_in@*"])
    for layer in range(model.n_layers):
        for sublayer in ("attn", "mlp"):
            norm = model.weights.norm(f"{sublayer}_norm", layer)
            before = values[Site(f"{sublayer}_norm", layer)]
            torch.testing.assert_close(
                before.pow(2).mean(-1), torch.ones(2, 9), atol=1e-3, rtol=1e-3
            )
            expected = before * norm.gain + (0 if norm.bias is None else norm.bias)
            torch.testing.assert_close(values[Site(f"{sublayer}_in", layer)], expected)


def test_a_replaced_normalised_value_goes_through_gain_and_bias(model: Model, batch: Batch):
    need(model, "mlp_norm")
    with model.edit({"mlp_norm@1": lambda x, _: noise_like(x)}):
        values = model.read(
            batch, ["mlp_norm@1", "mlp_in@1", "resid_mid@1"][: 2 + has(model, "resid_mid")]
        )
    norm, new = model.weights.norm("mlp_norm", 1), noise_like(values[Site("mlp_in", 1)])
    assert torch.equal(values[Site("mlp_norm", 1)], new)
    expected = new * norm.gain + (0 if norm.bias is None else norm.bias)
    torch.testing.assert_close(values[Site("mlp_in", 1)], expected)


def test_weights_rebuild_embedding_and_logits(model: Model, batch: Batch):
    values = model.read(batch, ["embed", "final", "logits"])
    expected = model.weights.W_E[batch.tokens] * model.weights.embed_scale
    torch.testing.assert_close(values[Site("embed")], expected)
    if model.is_causal:  # an encoder's head transforms `final` first
        bias = model.weights.b_U
        expected = values[Site("final")] @ model.weights.W_U + (0 if bias is None else bias)
        if (cap := model.weights.logit_softcap) is not None:
            expected = cap * torch.tanh(expected / cap)
        torch.testing.assert_close(values[Site("logits")], expected)


def test_weights_are_views(model: Model):
    if model.family.attention is None:
        with pytest.raises(ModelError, match="no attention"):
            model.weights.attention(0)
        return
    first = {p.untyped_storage().data_ptr() for p in model.hf.parameters()}
    weights, mlp = model.weights.attention(0), model.weights.mlp(0)
    for view in (weights.W_Q, weights.W_K, weights.W_V, weights.W_O, mlp.W_in, mlp.W_out):
        assert view.untyped_storage().data_ptr() in first


# caches


def test_decoding_with_a_cache_equals_the_full_pass(model: Model):
    tokens = torch.randint(10, model.d_vocab, (2, 9), generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, :2] = False  # padding on the left, as a generator has it
    if not model.is_causal:
        with pytest.raises(ModelError, match="keeps no cache"):
            model(Batch(tokens=tokens, mask=mask), cache=True)
        return
    full = logits(model, Batch(tokens=tokens, mask=mask))
    told: list[tuple[int, list[int]]] = []

    def note(x: Tensor, at: object) -> Tensor:
        told.append((at.step, at.positions[:, -1].tolist()))  # type: ignore[attr-defined]
        return x

    with model.edit({"resid_post@1": note}):
        output = model(Batch(tokens=tokens[:, :6], mask=mask[:, :6]), cache=True)
        pieces = [output.logits]
        for i in range(6, 9):
            step = Batch(tokens=tokens[:, i : i + 1], cache=output.cache)
            (seen,) = model.read(step, ["logits"]).values()  # leaves the cache alone
            output = model(step, cache=True)
            torch.testing.assert_close(seen, output.logits)
            pieces.append(output.logits)
    found = torch.cat(pieces, 1)
    torch.testing.assert_close(found[mask], full[mask], atol=1e-4, rtol=1e-4)
    passes = [told[0], *told[2::2]]  # every second one is a read's
    assert passes == [(0, [5, 3]), (1, [6, 4]), (2, [7, 5]), (3, [8, 6])]
    with pytest.raises(ModelError, match="continued already"):
        model(step)
