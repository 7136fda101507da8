import pytest
from transformers import AutoConfig

from lmscope.core.errors import ModelError
from lmscope.core.site import LAYER_PARTS
from lmscope.models.registry import find_family, known_families


def test_the_ten_families_are_found_by_their_files():
    assert set(known_families()) >= {
        *("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gemma3"),
        *("mamba", "bert", "roberta"),
    }
    for name, family in known_families().items():
        assert family.name == name


def test_every_part_of_a_layer_is_there_or_its_absence_explained():
    for family in known_families().values():
        for part in LAYER_PARTS:
            assert part in family.parts or family.why_absent(part), (family.name, part)


def test_an_unknown_type_names_the_known_ones():
    with pytest.raises(ModelError, match=r"type 'gpt_bigcode'.*"):
        find_family(AutoConfig.for_model("gpt_bigcode"))


def test_gpt_neox_without_parallel_residual_has_a_resid_mid():
    parallel = find_family(AutoConfig.for_model("gpt_neox", use_parallel_residual=True))
    sequential = find_family(AutoConfig.for_model("gpt_neox", use_parallel_residual=False))
    assert "resid_mid" not in parallel.parts
    assert "resid_mid" in sequential.parts
    assert sequential.arrangement == "sequential"


def test_roberta_counts_positions_from_its_padding_id():
    assert find_family(AutoConfig.for_model("roberta", pad_token_id=1)).first_position == 2
