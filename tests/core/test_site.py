import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import SiteError
from lmscope.core.site import GLOBAL_PARTS, LAYER_PARTS, Site, expand, parse_pattern

models = st.none() | st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
layers = st.integers(0, 200)
sites = st.one_of(
    st.builds(Site, st.sampled_from(GLOBAL_PARTS), model=models),
    st.builds(Site, st.sampled_from(LAYER_PARTS), layers, model=models),
    st.builds(Site, st.just("conv"), layers, st.integers(0, 9), models),
)


@given(sites)
def test_a_site_survives_being_written_and_read(site):
    assert Site.parse(str(site)) == site


@given(sites)
def test_slugs_are_safe_in_file_names_and_urls(site):
    assert re.fullmatch(r"[A-Za-z0-9._-]+", site.slug)


@given(sites, sites)
def test_different_sites_have_different_slugs_and_one_order(a, b):
    assert (a == b) == (a.slug == b.slug)
    assert [a < b, a == b, b < a].count(True) == 1


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("L12R", "resid_post@12"),
        ("L0A", "attn_out@0"),
        ("L3M", "mlp_out@3"),
        ("L12TC", "mlp_norm@12"),
        ("blocks.6.hook_mlp_out", "mlp_out@6"),
        ("blocks.0.attn.hook_q", "q@0"),
        ("blocks.11.attn.hook_attn_scores", "scores@11"),
        ("blocks.2.ln2.hook_normalized", "mlp_norm@2"),
        ("hook_pos_embed", "pos_embed"),
        ("ln_final.hook_normalized", "final"),
        (" resid_post@4 ", "resid_post@4"),
    ],
)
def test_other_libraries_names_parse(text, site):
    assert str(Site.parse(text)) == site


@given(sites)
def test_a_transformer_lens_name_parses_back(site):
    name = site.transformer_lens
    assert name is None or Site.parse(name) == replace(site, lag=None, model=None)


def test_sites_have_their_transformer_lens_name_or_none():
    assert Site("mlp_out", 6).transformer_lens == "blocks.6.hook_mlp_out"
    assert Site("embed").transformer_lens == "hook_embed"
    assert Site("mlp_in", 6).transformer_lens is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resid_pots@3", "Did you mean resid_post"),
        ("resid_post", "needs a layer"),
        ("logits@3", "exists once"),
        ("q[1]@3", "Only 'conv' has lags"),
        ("mlp_out@*", "selects many sites"),
        ("mlp out@3", "is not a site"),
        ("resid_post@٣", "is not a site"),
        ("", "is not a site"),
        ("blocks.3.hook_mlp_outt", "Did you mean hook_mlp_out"),
    ],
)
def test_what_is_no_site_says_what_to_write(text, words):
    with pytest.raises(SiteError, match=re.escape(words)):
        Site.parse(text)


@pytest.mark.parametrize(
    "site", [("q", -1), ("conv", 0, -1), ("q", 0, None, "a b"), ("q", 0, None, "../x")]
)
def test_impossible_sites_cannot_be_made(site):
    with pytest.raises(SiteError):
        Site(*site)


def test_order_is_that_of_a_forward_pass():
    order = ["embed", "resid_pre@0", "q@0", "resid_post@0", "resid_pre@1", "final", "logits"]
    assert sorted(map(Site.parse, reversed(order))) == [Site.parse(text) for text in order]


def test_layers_are_ordered_by_number():
    assert Site.parse("q@9") < Site.parse("q@10")


AVAILABLE = [Site.parse(t) for t in ("embed", "q@0", "q@1", "conv[0]@0", "conv[1]@0", "a.q@0")]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["q@*"], ["q@0", "q@1"]),
        (["q@1", "embed", "q@*"], ["embed", "q@0", "q@1"]),
        (["conv@*"], ["conv[0]@0", "conv[1]@0"]),
        (["conv[1]@*"], ["conv[1]@0"]),
        (["a.q@*"], ["a.q@0"]),
    ],
)
def test_patterns_select_each_site_once_in_order(patterns, expected):
    assert [str(site) for site in expand(patterns, AVAILABLE)] == expected


@pytest.mark.parametrize("pattern", ["q@2", "k@*", "conv[2]@*", "b.q@0"])
def test_a_pattern_that_selects_nothing_is_an_error(pattern):
    with pytest.raises(SiteError, match="has no site"):
        expand([pattern], AVAILABLE)


@pytest.mark.parametrize("text", ["q@*", "conv[2]@*", "chat.mlp_out@*"])
def test_patterns_survive_being_written(text):
    assert str(parse_pattern(text)) == text
