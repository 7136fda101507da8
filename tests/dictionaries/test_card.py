"""The model card: front matter that the hub reads, facts, figures, and nothing made up."""

import pytest
import torch

from lmscope.core.errors import RecipeError
from lmscope.dictionaries import storage
from lmscope.dictionaries.card import Provenance, base_model, write_card
from lmscope.dictionaries.config import JumpReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary


def front_matter(card):
    _, matter, rest = card.split("---\n", 2)
    return matter, rest


def test_the_front_matter_names_library_tags_and_model(make_config):
    config = make_config(TopK(k=3), d_write=4, model="meta-llama/Llama-3.1-8B")
    matter, rest = front_matter(write_card(config, 1, Provenance(licence="apache-2.0")))
    assert matter.splitlines() == [
        "library_name: lmscope",
        "tags:",
        "- transcoder",
        "- interpretability",
        "- topk",
        'base_model: "meta-llama/Llama-3.1-8B"',
        'license: "apache-2.0"',
    ]
    assert "# Transcoder at `resid_post@3` -> `mlp_out@3` of `meta-llama/Llama-3.1-8B`" in rest


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (None, None),
        ("gpt2", "openai-community/gpt2"),
        ("smollm2-135m-instruct-q4", None),
        ("owner/model", "owner/model"),
        ("/folder/model", None),
        ("./model", None),
        ("a/b/c", None),
    ],
)
def test_the_base_model_is_a_name_on_the_hub_or_absent(make_config, name, found):
    config = make_config(TopK(k=3), model=name)
    assert base_model(config) == found
    assert ("base_model" in write_card(config, 1)) == (found is not None)


def test_facts_are_stated_and_unknown_ones_left_out(make_config):
    config = make_config(TopK(k=3), d_write=4)
    card = write_card(config, 7, Provenance(text="a | b\nc", tokens=2_000_000))
    for line in (
        "| Reads | `resid_post@3`, 6 wide |",
        "| Writes | `mlp_out@3`, 4 wide |",
        "| Latents | 20 |",
        "| Sparsity | topk, k = 3 |",
        "| Training text | a \\| b c |",
        "| Training tokens | 2,000,000 |",
    ):
        assert line in card.splitlines()
    assert "| Model |" not in card
    assert "How good it is" not in card
    assert card.endswith("lmscope dictionary format 7.\n")


@pytest.mark.parametrize(
    ("sparsity", "d_write", "exports"),
    [
        (TopK(k=3), None, ["sae-lens", "sparsify"]),
        (TopK(k=3), 4, ["sparsify", "circuit-tracer"]),
        (JumpReLU(), 4, ["sae-lens", "circuit-tracer"]),
    ],
)
def test_it_offers_the_exports_that_can_say_what_it_does(make_config, sparsity, d_write, exports):
    card = write_card(make_config(sparsity, d_write=d_write), 1)
    found = [line.rpartition(" ")[2] for line in card.splitlines() if "--to" in line]
    assert found == exports


def test_a_health_report_that_is_none_is_refused(make_config):
    with pytest.raises(RecipeError, match="health report"):
        write_card(make_config(TopK(k=3)), 1, Provenance(health={"l0": 3}))


def test_save_pretrained_writes_what_save_writes_and_a_fuller_card(tmp_path, make_dictionary):
    dictionary = make_dictionary(TopK(k=3), dtype=torch.float32)
    dictionary.save(tmp_path / "plain")
    dictionary.save_pretrained(tmp_path / "known", provenance=Provenance(tokens=1234))
    for name in ("config.json", "weights.safetensors"):
        plain, known = (tmp_path / folder / name for folder in ("plain", "known"))
        assert plain.read_bytes() == known.read_bytes()
    assert "1,234" in (tmp_path / "known/README.md").read_text()
    assert "1,234" not in (tmp_path / "plain/README.md").read_text()
    assert torch.equal(Dictionary.load(tmp_path / "known").W_enc, dictionary.W_enc)


def test_the_format_of_now_is_readable_and_the_one_before_once_there_is_one():
    first = max(1, storage.FORMAT_VERSION - 1)
    assert set(storage.READABLE) == set(range(first, storage.FORMAT_VERSION + 1))
