import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lmscope.core.errors import RecipeError
from lmscope.models.batch import Batch
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.language_model import LanguageModel

WORDS = ["<pad>", *(f"w{i}" for i in range(60))]
SMALL = ModelShape(
    family="gpt2", n_layers=2, d_model=32, n_heads=4, d_hidden=48, max_positions=20, tied=False
)


def words():
    """A tokenizer of whole words that has padding and nothing that begins a text."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


@pytest.fixture(scope="module")
def model():
    return fresh_model(SMALL, words(), name="words", seed=3)


def n_parameters(model):
    return sum(p.numel() for p in model.hf.parameters())


def test_gpt2_has_the_size_it_was_asked_for(model):
    """By hand: embeddings and unembedding 2 x 61 x 32, positions 20 x 32, final norm 2 x 32; a layer has
    two norms (4 x 32), attention 4 x 32^2 + 4 x 32 and a feed-forward layer 2 x 32 x 48 + 48 + 32."""
    layer = 4 * 32 + 4 * 32**2 + 4 * 32 + 2 * 32 * 48 + 48 + 32
    assert n_parameters(model) == 2 * 61 * 32 + 20 * 32 + 2 * 32 + 2 * layer
    assert (model.family.name, model.n_layers, model.d_vocab, model.max_positions) == (
        "gpt2",
        2,
        61,
        20,
    )


def test_othello_gpt_of_the_paper_has_its_count_of_matrix_entries():
    """1,179,648 in the matrices of the layers: 6 x 12 x 128^2."""
    shape = ModelShape(
        family="gpt2", n_layers=6, d_model=128, n_heads=8, d_hidden=512, max_positions=60
    )
    named = fresh_model(shape, words(), name="paper", seed=0).hf.named_parameters()
    assert sum(p.numel() for n, p in named if ".h." in n and p.dim() == 2) == 1_179_648


def test_it_needs_no_token_that_begins_a_text(model):
    assert model.bos_id is None
    batch = model.batch(["w3 w1 w4", "w1"])
    assert batch.tokens.tolist() == [[4, 2, 5], [2, 0, 0]]
    assert model(batch).logits.shape == (2, 3, 61)


def test_the_stream_is_the_sum_of_what_is_written_into_it(model):
    batch = Batch(tokens=torch.arange(1, 13).reshape(2, 6))
    parts = ["embed", "pos_embed", "attn_out@0", "mlp_out@0", "attn_out@1", "mlp_out@1"]
    found = model.read(batch, [*parts, "resid_post@1"])
    *written, stream = found.values()
    assert torch.allclose(sum(written), stream, atol=1e-6)


def test_equal_seeds_draw_equal_weights_and_others_do_not(model):
    again, other = (fresh_model(SMALL, words(), name="words", seed=seed) for seed in (3, 4))
    assert again.weights_hash == model.weights_hash != other.weights_hash


def test_training_drops_nothing_out(model):
    model.hf.train()
    tokens = torch.arange(1, 13).reshape(2, 6)
    with torch.no_grad():
        first, second = (model.hf(input_ids=tokens).logits for _ in range(2))
    model.hf.eval()
    assert torch.equal(first, second)


def test_tied_means_that_the_unembedding_is_the_embedding(model):
    tied = fresh_model(SMALL.model_copy(update={"tied": True}), words(), name="tied", seed=3)
    assert tied.hf.lm_head.weight is tied.hf.transformer.wte.weight
    assert model.hf.lm_head.weight is not model.hf.transformer.wte.weight
    assert n_parameters(model) - n_parameters(tied) == 61 * 32


def test_a_saved_one_loads_with_the_same_logits(model, tmp_path):
    model.hf.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.load(str(tmp_path / "model"))
    assert loaded.bos_id is None
    batch = model.batch("w5 w6 w7")
    assert torch.equal(loaded(batch).logits, model(batch).logits)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_kv_heads": 2}, "as many heads of keys as heads: leave n_kv_heads out"),
        ({"rope_theta": 500.0}, "gpt2 learns its positions: leave rope_theta out"),
        ({"n_heads": 5}, "5 heads do not divide a width of 32"),
    ],
)
def test_what_gpt2_has_not_got_is_refused(change, said):
    with pytest.raises(RecipeError, match=said):
        ModelShape.from_mapping({**SMALL.to_mapping(), **change})


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_heads": 5}, "5 heads do not divide a width of 32"),
        ({"n_kv_heads": 3}, "3 heads of keys do not divide 4 heads"),
    ],
)
def test_heads_that_do_not_divide_are_refused(family, change, said):
    values = {**SMALL.to_mapping(), "family": family, **change}
    with pytest.raises(RecipeError, match=said):
        ModelShape.from_mapping(values)


def test_a_shape_written_out_reads_back(tmp_path):
    assert ModelShape.from_mapping(SMALL.to_mapping()) == SMALL
