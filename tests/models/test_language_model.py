import pytest
import torch
from torch import Tensor, nn
from transformers import AddedToken, BertConfig, BertModel, OPTConfig, OPTForCausalLM

from lmscope.core.errors import DataError, LmscopeError, ModelError, SiteError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.edit import At
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import character_tokenizer, miniature


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return miniature("llama")


@pytest.fixture(scope="module")
def batch() -> Batch:
    tokens = torch.randint(10, 90, (2, 7), generator=torch.Generator().manual_seed(0))
    return Batch(tokens=tokens)


@pytest.fixture(scope="module")
def headless() -> LanguageModel:
    """A BERT without a language-model head, as sentence encoders are."""
    config = BertConfig(
        vocab_size=101,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=8,
    )
    tokenizer = character_tokenizer(encoder=True)
    return LanguageModel(BertModel(config), tokenizer, name="encoder", weights_hash="0" * 64)


def test_the_model_says_what_it_is(model: LanguageModel):
    assert (model.n_layers, model.d_model, model.d_vocab) == (3, 32, 100)
    assert (model.n_heads, model.n_kv_heads, model.d_head) == (4, 2, 8)
    assert model.bos_id == model.tokenizer.bos_token_id == 1
    assert model.special_ids == {0, 1, 2, 3}  # pad, bos, eos, unk
    assert model.is_causal
    assert model.has_logits
    assert model.max_positions == 128
    assert model.dtype == torch.float32
    assert "miniature-llama" in repr(model)
    assert not model.hf.training
    assert not any(p.requires_grad for p in model.hf.parameters())


def test_positions_of_roberta_leave_out_its_offset():
    assert miniature("roberta").max_positions == 128 - 1  # its padding id is 0 here
    assert miniature("mamba").max_positions is None


def test_an_encoder_begins_with_its_cls_token(headless: LanguageModel):
    assert headless.bos_id == headless.tokenizer.cls_token_id
    assert not headless.is_causal


def test_an_unknown_architecture_is_refused():
    config = OPTConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, ffn_dim=8
    )
    hf = OPTForCausalLM(config)
    with pytest.raises(ModelError, match="No family here covers models of type 'opt'"):
        LanguageModel(hf, character_tokenizer(), name="other", weights_hash="0" * 64)


def test_a_model_without_a_head_reads_and_resumes_but_has_no_logits(headless: LanguageModel):
    batch = Batch(tokens=torch.tensor([[2, 30, 31, 3]]))
    values = headless.read(batch, ["resid_pre@1", "final"])
    found = headless.resume("resid_pre@1", values[Site("resid_pre", 1)], batch, ["final"])
    assert torch.equal(found[Site("final")], values[Site("final")])
    assert Site("logits") not in headless.sites()
    for ask in (
        lambda: headless(batch),
        lambda: headless.read(batch, ["logits"]),
        lambda: headless.resume("resid_pre@1", values[Site("resid_pre", 1)], batch),
        lambda: headless.weights.W_U,
    ):
        with pytest.raises(LmscopeError, match="language-model head"):
            ask()


def test_more_tokens_than_positions_are_refused(headless: LanguageModel):
    with pytest.raises(ModelError, match="positions for 8 tokens; 9 were given"):
        headless.read(Batch(tokens=torch.full((1, 9), 30)), ["resid_post@0"])


def test_patterns_and_foreign_names_resolve(model: LanguageModel):
    assert [str(s) for s in model.resolve(["mlp_out@*", "L1R"])] == [
        "mlp_out@0",
        "mlp_out@1",
        "resid_post@1",
        "mlp_out@2",
    ]
    assert model.width("mlp_hidden@0") == 48
    assert model.width("k@0") == 16
    assert model.width("logits") == 100


def test_wrong_sites_say_what_there_is(model: LanguageModel, batch: Batch):
    with pytest.raises(SiteError, match="no site 'resid_post@7': its layers are 0 to 2"):
        model.read(batch, ["resid_post@7"])
    with pytest.raises(SiteError, match="state-space"):
        model.read(batch, ["ssm_state@0"])
    with pytest.raises(SiteError, match="Did you mean"):
        model.read(batch, ["resid_pots@1"])
    with pytest.raises(SiteError, match="No site was asked for"):
        model.read(batch, [])
    with pytest.raises(SiteError, match=r"no site 'chat\.resid_post@1'"):
        model.read(batch, ["chat.resid_post@1"])


def test_a_single_name_may_stand_alone(model: LanguageModel, batch: Batch):
    assert list(model.read(batch, "resid_post@1")) == [Site("resid_post", 1)]


def test_edits_are_told_where_they_are(model: LanguageModel):
    told: list[At] = []

    def note(x: Tensor, at: At) -> Tensor:
        told.append(at)
        return x

    mask = torch.tensor([[False, True, True], [True, True, True]])
    batch = Batch(tokens=torch.full((2, 3), 30), mask=mask, rows=torch.tensor([10, 20]))
    with model.edit({"mlp_out@*": note}):
        model(batch)
    assert [str(at.site) for at in told] == ["mlp_out@0", "mlp_out@1", "mlp_out@2"]
    assert told[0].positions.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert torch.equal(told[0].mask, mask)
    assert told[0].rows.tolist() == [10, 20]
    assert told[0].step == 0


def test_a_pattern_and_a_site_in_one_edit_both_apply(model: LanguageModel, batch: Batch):
    edits = {"mlp_out@*": lambda x, _: torch.ones_like(x), "mlp_out@1": lambda x, _: x * 2}
    with model.edit(edits):
        values = model.read(batch, ["mlp_out@*"])
    assert [v.flatten()[0].item() for v in values.values()] == [1.0, 2.0, 1.0]


def test_an_edit_may_be_a_module(model: LanguageModel, batch: Batch):
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor, _at: At) -> Tensor:
            return x * self.by

    scale = Scale()
    with model.edit({"resid_mid@1": scale}):
        model(batch).logits.sum().backward()
    assert scale.by.grad is not None
    assert scale.by.grad.abs() > 0


def test_an_edit_in_float32_fits_a_bfloat16_model(batch: Batch):
    model = miniature("llama")
    model.hf.to(torch.bfloat16)
    with model.edit({"resid_post@1": lambda x, _: x.float() * 1.5}):
        (value,) = model.read(batch, ["resid_post@1"]).values()
    assert value.dtype == torch.bfloat16
    assert model.dtype == torch.bfloat16


def test_wrong_edits_are_refused(model: LanguageModel, batch: Batch):
    for function, message in (
        (lambda x, _: None, "returned NoneType"),
        (lambda x, _: x[:, :1], "returned shape"),
        (lambda x, _: x.to("meta"), "on meta"),
    ):
        with model.edit({"mlp_out@1": function}), pytest.raises(Exception, match=message):
            model(batch)


def test_an_edit_deeper_than_a_read_does_no_harm(model: LanguageModel, batch: Batch):
    with model.edit({"mlp_out@2": lambda x, _: x * 0}):
        model.read(batch, ["resid_post@0"])


def test_the_hugging_face_model_alone_is_refused_under_edits(model: LanguageModel, batch: Batch):
    with (
        model.edit({"mlp_out@1": lambda x, _: x}),
        pytest.raises(SiteError, match="run the LanguageModel itself"),
    ):
        model.hf(input_ids=batch.tokens)


def test_packed_documents_see_each_other_whatever_their_positions(model: LanguageModel):
    """Positions that start anew would make transformers cut attention between documents."""
    tokens = torch.randint(10, 90, (1, 6), generator=torch.Generator().manual_seed(1))
    anew = Batch(tokens=tokens, positions=torch.tensor([[0, 1, 2, 0, 1, 2]]))
    (pattern,) = model.read(anew, ["pattern@0"]).values()
    assert (pattern[:, :, 5, :3] > 0).all()


def test_resuming_refuses_what_makes_no_sense(model: LanguageModel, batch: Batch):
    (value,) = model.read(batch, ["resid_pre@1"]).values()
    with pytest.raises(SiteError, match="resid_pre or a resid_post"):
        model.resume("mlp_out@1", value, batch)
    with pytest.raises(SiteError, match="the value given has"):
        model.resume("resid_pre@1", value[:, :3], batch)
    cache = model(batch, cache=True).cache
    with pytest.raises(ModelError, match="cannot resume"):
        model.resume("resid_pre@1", value, Batch(tokens=batch.tokens, cache=cache))


def test_a_gradient_reaches_the_value_that_a_pass_resumes_from(model: LanguageModel, batch: Batch):
    (value,) = model.read(batch, ["resid_pre@1"]).values()
    value.requires_grad_(True)
    (final,) = model.resume("resid_pre@1", value, batch, ["final"], grad=True).values()
    final.sum().backward()
    assert value.grad is not None
    assert value.grad.abs().sum() > 0


def test_sequential_gpt_neox_has_a_stream_between_its_sublayers(batch: Batch):
    model = miniature("gpt_neox", use_parallel_residual=False)
    with model.edit({"resid_mid@1": lambda x, _: x * 0.5}):
        values = model.read(batch, ["resid_mid@1", "mlp_out@1", "resid_post@1"])
    mid, out, post = values.values()
    assert torch.equal(post, out + mid)


def test_a_read_with_int32_tokens_is_the_same(model: LanguageModel, batch: Batch):
    assert batch.tokens is not None
    short = Batch(tokens=batch.tokens.int())
    assert torch.equal(model(short).logits, model(batch).logits)


def test_batch_frames_each_text_and_pads_on_the_right():
    model = miniature("llama")
    batch = model.batch(["ab", "abcd"])
    assert batch.tokens is not None
    assert batch.mask is not None
    assert batch.tokens[:, 0].tolist() == [model.bos_id] * 2
    assert batch.mask.sum(1).tolist() == [3, 5]
    assert batch.mask[0].tolist() == [True, True, True, False, False]


def test_batch_of_an_encoder_ends_each_text_with_sep():
    model = miniature("bert")
    batch = model.batch("ab")
    assert batch.tokens is not None
    assert batch.tokens[0, -1] == model.tokenizer.sep_token_id


def test_batch_refuses_no_text():
    with pytest.raises(DataError, match="at least one text"):
        miniature("llama").batch([])


def test_every_token_that_was_added_as_special_is_no_text():
    tokenizer = character_tokenizer()
    named = set(tokenizer.all_special_ids)
    tokenizer.add_tokens([AddedToken("<file>", special=True), AddedToken("<word>", special=False)])
    file, word = tokenizer.convert_tokens_to_ids(["<file>", "<word>"])
    assert file not in tokenizer.all_special_ids, "the list that transformers gives is not enough"
    hf = miniature("llama", vocab_size=len(tokenizer)).hf
    model = LanguageModel(hf, tokenizer, name="added", weights_hash="0" * 64)
    assert model.special_ids == named | {file}
    assert word not in model.special_ids
