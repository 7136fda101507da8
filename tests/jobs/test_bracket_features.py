import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, RecipeError
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.bracket_features import BracketChoice, bracket_features, read_brackets
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.text.tasks.brackets import LabelledText, labelled_texts

WORDS = " river house stone garden table paper music winter summer letter dinner silver golden green white black"


class Silent:
    def on_event(self, event, fields): ...
    def on_metrics(self, step, metrics): ...
    def on_progress(self, phase, done, total, fields): ...


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A miniature that reads words and brackets, saved so that a job can load it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=["<bos>", "<pad>"],
    )
    text = f"{WORDS} yellow round heavy quiet sudden gentle bitter honest simple strange ( [" * 3
    tokenizer.train_from_iterator([text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", pad_token="<pad>")
    tiny = miniature("llama", vocab_size=len(fast))
    folder = tmp_path_factory.mktemp("brackets") / "model"
    tiny.hf.save_pretrained(folder)
    fast.save_pretrained(folder)
    return LanguageModel.load(str(folder), device="cpu")


def dictionary(model, bracket_latent):
    """Latent `bracket_latent` fires on opening brackets alone: it reads their embeddings."""
    width = model.d_model
    config = DictionaryConfig(
        reads=("embed",),
        writes=("embed",),
        d_read=width,
        d_write=width,
        n_latents=40,
        sparsity=ReLU(),
        normalisation="none",
        model=model.name,
    )
    made, draw = Dictionary(config), torch.Generator().manual_seed(0)
    embeddings = model.hf.get_input_embeddings().weight.detach().float()
    vocabulary = model.tokenizer.get_vocab()
    brackets = embeddings[[vocabulary["Ġ("], vocabulary["Ġ["]]]
    # One direction whose product with both brackets is 1 and with every other token less.
    others = torch.tensor([i for t, i in vocabulary.items() if t not in ("Ġ(", "Ġ[")])
    ridge = embeddings.T @ embeddings + 1e-3 * torch.eye(width)
    direction = torch.linalg.solve(ridge, brackets.sum(0))
    threshold = (embeddings[others] @ direction).topk(5).values[-1]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
        made.W_enc[bracket_latent] = direction
        made.b_enc[bracket_latent] = -threshold
        made.b_dec.zero_()
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("dictionaries") / "planted"
    dictionary(model, 11).save(path)
    return path


def choice(folder, **options):
    values = {
        "dictionaries": {"sources": [str(folder)], "calibration_tokens": 0},
        "n_texts": 40,
        "scores": {"n_permutations": 9},
        **options,
    }
    return BracketChoice.from_mapping(values)


def test_a_planted_latent_is_found_for_opening_brackets(folder):
    report = bracket_features(choice(folder), Silent())
    (found,) = report.dictionaries
    labels = {one.label: one for one in found.labels}
    assert labels["opening"].best[0].latent == 11
    assert labels["opening"].best[0].f1 > 0.9
    assert labels["opening"].p_value == pytest.approx(0.1)
    assert found.best["opening"].latent == 11
    assert {"in_bracket", "depth_1", "depth_2", "in_round", "in_square", "closing"} <= set(labels)
    assert "in_curly" not in labels  # this tokenizer has no such bracket after a space
    row = next(row for row in report.table().rows if row[0] == "opening")
    assert row[1] == "planted/11"


def test_where_to_trace_a_latent_is_an_opening_bracket(folder, model):
    report = bracket_features(choice(folder), Silent())
    root = report.dictionaries[0].best["opening"]
    name, _, position = root.target.partition("@")
    assert name == "planted/11"
    tokens = model.batch(root.prompt).tokens[0].tolist()
    assert model.tokenizer.decode([tokens[int(position)]]) in (" (", " [")


def test_equal_choices_give_equal_reports(folder):
    first, second = (bracket_features(choice(folder), Silent()) for _ in range(2))
    assert first == second
    assert bracket_features(choice(folder, seed=1), Silent()) != first


def test_activations_stand_at_their_tokens(model):
    made = dictionary(model, 11)
    texts = labelled_texts(model.tokenizer, 6, np.random.default_rng(0))
    seen = read_brackets(model, {"planted": made}, texts, Exclusion(), Silent())["planted"]
    assert len(seen.depth) == sum(len(text.tokens) for text in texts)  # only the BOS is left out
    start = 0
    for i, text in enumerate(texts):
        with torch.no_grad():
            x = model.read(model.batch(text.text), ["embed"])
            expected = made.encode(next(iter(x.values()))[0].float())[1:].numpy()
        dense = np.zeros_like(expected)
        here = seen.firings.text[seen.firings.token] == i
        dense[seen.firings.token[here] - start, seen.firings.latent[here]] = seen.firings.value[
            here
        ]
        np.testing.assert_allclose(dense, expected, atol=1e-6)
        for name, values in text.labels.items():
            np.testing.assert_array_equal(seen.labels[name][start : start + len(values)], values)
        start += len(text.tokens)


def test_texts_of_another_tokenizer_are_refused(model):
    text = LabelledText(" river", (1, 2, 3), np.zeros(3, dtype=np.int64), {})
    with pytest.raises(DataError, match="other tokens than it was labelled by"):
        read_brackets(model, {"planted": dictionary(model, 3)}, [text], Exclusion(), Silent())


def test_a_circuit_without_a_dictionary_has_no_latent(model):
    values = {"dictionaries": {"sources": ["none"]}, "model": {"name": model.name}}
    with pytest.raises(RecipeError, match="no latent to score"):
        bracket_features(BracketChoice.from_mapping(values), Silent())
