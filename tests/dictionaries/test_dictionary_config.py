import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.dictionaries.config import DictionaryConfig, ObjectiveConfig, TopK

VALID = {
    "reads": ["resid_post@3"],
    "writes": ["resid_post@3"],
    "d_read": 6,
    "d_write": 6,
    "n_latents": 24,
    "sparsity": {"kind": "topk", "k": 4},
}


def config(**changes):
    return DictionaryConfig.from_mapping({**VALID, **changes}, "the dictionary")


def test_a_valid_mapping_becomes_a_config():
    assert config().sparsity == TopK(k=4)
    assert not config().is_transcoder
    assert config(writes=["mlp_out@3"], d_write=7).is_transcoder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_latents": 3}, "k = 4 latents cannot be kept of 3"),
        ({"n_latents": 0}, "'n_latents' of the dictionary is wrong.*found 0"),
        ({"d_read": 0}, "'d_read' of the dictionary is wrong.*found 0"),
        ({"sparsity": {"kind": "topk", "k": 0}}, r"'sparsity.k' .* wrong.*found 0"),
        ({"sparsity": {"kind": "batchtopk", "k": 25}}, "k = 25 latents cannot be kept of 24"),
        ({"sparsity": {"kind": "topp"}}, "'sparsity.kind' .* cannot be 'topp'.*topk"),
        ({"sparsity": {"kind": "relu", "k": 3}}, "'sparsity.k' is not an option"),
        ({"reads": ["resid_pots@3"]}, "'reads' of the dictionary is wrong.*resid_post"),
        ({"writes": ["resid_post"]}, "'writes' of the dictionary is wrong.*needs a layer"),
        ({"reads": ["resid_post@*"]}, "'reads' of the dictionary is wrong.*many sites"),
        ({"reads": []}, "exactly one site for now; 0 were given"),
        ({"writes": ["mlp_out@1", "mlp_out@2"]}, "exactly one site for now; 2 were given"),
        ({"d_write": 7}, "cannot be 6 wide when read and 7 when written"),
        ({"writes": ["mlp_out@3"], "apply_b_dec_to_input": True}, "leave it out"),
    ],
)
def test_a_wrong_config_is_one_sentence(changes, message):
    with pytest.raises(RecipeError, match=message):
        config(**changes)


@given(
    st.sampled_from(["relu", "topk", "batchtopk", "jumprelu"]),
    st.integers(1, 50),
    st.booleans(),
    st.sampled_from(["paper", "script", 0.25]),
)
def test_configs_survive_toml(kind, n_latents, skip, norm):
    sparsity = {"kind": kind, **({"k": n_latents} if "topk" in kind else {})}
    first = config(sparsity=sparsity, n_latents=n_latents, skip=skip)
    assert DictionaryConfig.from_mapping(first.to_mapping()) == first
    options = ObjectiveConfig.from_mapping(
        {"initialisation": {"decoder_norm": norm}, "auxiliary": {"k": n_latents}}
    )
    assert ObjectiveConfig.from_mapping(options.to_mapping()) == options
