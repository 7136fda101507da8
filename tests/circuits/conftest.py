"""Random causal models of every family with random dictionaries at a mix of sites."""

import re

import numpy as np
import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Branch, Frozen, freeze
from lmscope.circuits.frozen_norm import BiasKey, FrozenNorm
from lmscope.circuits.graph import Graph, GraphDictionary, GraphMeta, GraphNode
from lmscope.circuits.graph_building import build_graph
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.targets import LogitTarget
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature

# Every identity runs over all families, and every way of feed-forward layers over those that differ by it.
# What costs much runs where families differ most: position embeddings and biases, branches side by side,
# norms after layers and over heads. The rest is slow.
OFTEN = {("llama", "half_rule"), ("gemma3", "half_rule"), ("gpt2", "leaf"), ("gpt_neox", "leaf")}
FEW = {"gpt2": "leaf", "gpt_neox": "gates", "gemma3": "half_rule"}
COSTLY = {
    "test_the_pass_equals_the_recursion_over_direct_contributions",
    "test_the_flow_into_a_feature_sums_to_its_attribution",
    "test_total_attribution_equals_automatic_differentiation",
    "test_a_score_is_traced_by_either_side_without_counting_twice",
    "test_written_and_read_back_it_is_equal",
    "test_each_part_that_is_let_go_makes_a_difference",
    "test_doubling_a_feature_changes_another_by_the_edge_between_them",
}
CAUSAL = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gemma3")
N_LATENTS = 48


def random_dictionary(reads, writes, *, sparsity=None, skip=False, seed=0, width=32, n=N_LATENTS):
    draw = torch.Generator().manual_seed(seed)
    config = DictionaryConfig(
        reads=(reads,),
        writes=(writes,),
        d_read=width,
        d_write=width,
        n_latents=n,
        sparsity=sparsity or ReLU(),
        skip=skip,
        normalisation="none",
    )
    dictionary = Dictionary(config)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            size = 0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * size)
        if dictionary.threshold is not None:
            dictionary.threshold.fill_(0.2)
    return dictionary.requires_grad_(False)


def mixed(*, stream=True):
    """Dictionaries of every kind over three layers; layer 1 keeps its attention, layer 2 its gates."""
    found = [
        random_dictionary("attn_out@0", "attn_out@0", seed=1),
        random_dictionary("mlp_norm@0", "mlp_out@0", skip=True, seed=2),
        random_dictionary("mlp_out@1", "mlp_out@1", sparsity=TopK(k=8), seed=3),
        random_dictionary("attn_out@2", "attn_out@2", sparsity=JumpReLU(), seed=4),
    ]
    if stream:
        found.append(random_dictionary("resid_post@1", "resid_post@1", seed=5))
    return found


@pytest.fixture(scope="session")
def make_dictionary():
    return random_dictionary


@pytest.fixture(scope="session")
def make_mixed():
    return mixed


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as slow what repeats an identity on another family and another way of feed-forward layers."""
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        family, mlp = given.get("family"), given.get("frozen")
        if family is None:
            continue
        if item.originalname in COSTLY:
            often = family in FEW and mlp in (None, FEW[family])
        else:
            often = mlp in (None, "gates") or (family, mlp) in OFTEN
        if not often:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=CAUSAL)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def model(family):
    return miniature(family)


@pytest.fixture(scope="session")
def tokens():
    return [1, *torch.randint(6, 90, (8,), generator=torch.Generator().manual_seed(7)).tolist()]


@pytest.fixture(scope="session", params=["gates", "half_rule", "leaf"])
def frozen(request, model, tokens):
    options = ReplacementOptions(mlp=request.param, dtype="float64")
    return freeze(Replacement(model, mixed(), options), tokens)


def graph_of(attributions, edges, *, tokens=(1, 7, 8, 9), target=None, **meta):
    """A graph written down by hand: what each node id adds, and what flows between ids."""
    nodes = [
        GraphNode(
            id="target",
            kind="target",
            attribution=meta.pop("value", 1.0),
            **(target or {"token": 5, "position": len(tokens) - 1}),
        )
    ]
    for name, attribution in attributions.items():
        head, _, position = name.rpartition("@")
        kind = re.match(r"token|position|error|leaf|bias", name)
        kind = kind[0] if kind else "feature"
        fields = {} if kind == "bias" else {"position": int(position)}
        if kind == "token":
            fields["token"] = tokens[int(position)]
        if kind in ("error", "leaf"):
            fields["site"] = head.partition(":")[2]
        if kind == "feature":
            fields["site"], _, latent = head.partition("/")
            fields |= {"latent": int(latent), "activation": meta.pop("activation", 2.0)}
        if "site" in fields:
            fields["layer"] = int(fields["site"].partition("@")[2])
        nodes.append(GraphNode(id=name, kind=kind, attribution=attribution, **fields))
    places = {node.id: i for i, node in enumerate(nodes)}
    dictionaries = meta.pop("dictionaries", None) or [
        GraphDictionary(site=site, reads=site, name=f"dictionary-{site}", n_latents=100)
        for site in sorted({node.site for node in nodes if node.kind == "feature"})
    ]
    ends = np.array([[places[a], places[b]] for a, b in edges], dtype=np.int32).reshape(-1, 2)
    fields = {
        "prompt": "one two three",
        "tokens": tokens,
        "texts": ("<bos>", "one", " two", " three")[: len(tokens)],
        "model": "toy",
        "weights_hash": "w",
        "n_layers": 3,
        "target": "logit 5 @3",
        "options": {"threshold": 0.01},
        "ledger": {"target": 1.0, "residual": 0.0},
        "n_reached": len(nodes),
    } | meta
    return Graph(
        GraphMeta(value=nodes[0].attribution, dictionaries=tuple(dictionaries), **fields),
        tuple(nodes),
        ends[:, 0].copy(),
        ends[:, 1].copy(),
        np.array(list(edges.values()), dtype=np.float32),
    )


@pytest.fixture(scope="session")
def make_graph():
    return graph_of


@pytest.fixture(scope="session")
def traced(tokens):
    """A real graph with features, tokens, positions, errors, leaves and biases."""
    options = ReplacementOptions(mlp="leaf", dtype="float64")
    frozen = freeze(Replacement(miniature("gpt2"), mixed(stream=False), options), tokens)
    trace = TraceOptions(threshold=0.01)
    found = attribute(frozen, LogitTarget(9), trace)
    texts = [f" t{token}" for token in tokens]
    return build_graph(found, trace, prompt="".join(texts[1:]), texts=texts)


@pytest.fixture(scope="session")
def frozen_llama(tokens):
    """One run with dictionaries of every kind, feed-forward layers through their gates."""
    options = ReplacementOptions(dtype="float64")
    return freeze(Replacement(miniature("llama"), mixed(), options), tokens)


class Everywhere(Exclusion):
    """Keeps every position, so that hand-made prompts need no token in front."""

    def keep_tokens(self, tokens, mask, special_ids):
        return torch.ones_like(tokens, dtype=torch.bool)


@pytest.fixture(scope="session")
def everywhere():
    return Everywhere()


def blank_gpt2(half, n_layers, *, activation="relu", hidden=4):
    """A model that does nothing yet: all weights 0, one head, `2 * half` wide.

    Its second half is meant to mirror the first with the other sign, so that layer norms find a mean of 0.
    """
    model = miniature(
        "gpt2",
        n_layer=n_layers,
        n_embd=2 * half,
        n_head=1,
        n_inner=hidden,
        activation_function=activation,
        tie_word_embeddings=False,
    )
    for parameter in model.hf.parameters():
        parameter.data.zero_()
    return model


def mirrored(vectors):
    return torch.cat([vectors, -vectors], -1)


@pytest.fixture(scope="session")
def make_blank_gpt2():
    return blank_gpt2


@pytest.fixture(scope="session")
def mirror():
    return mirrored


def by_hand(embed, layers):
    """A frozen run without attention or norms: each layer's features read the stream and add to it.

    Args:
        embed: `[pos, model]`.
        layers: For each, what its features read `[latent, model]`, their constants, what they write, and
            what stands at the site (None: what the dictionary makes).
    """
    unit = FrozenNorm(
        False,
        embed.new_ones(len(embed)),
        embed.new_ones(embed.shape[1]),
        None,
        BiasKey(len(layers), "final_norm"),
    )
    x, stages, streams = embed, [], [embed]
    for layer, (reads, constants, writes, written) in enumerate(layers):
        width = embed.shape[1]
        config = DictionaryConfig(
            reads=(f"resid_mid@{layer}",),
            writes=(f"mlp_out@{layer}",),
            d_read=width,
            d_write=width,
            n_latents=len(reads),
            sparsity=ReLU(),
            normalisation="none",
        )
        empty = Dictionary(config).to(embed.dtype).state_dict()
        given = {"W_enc": reads, "b_enc": constants, "W_dec": writes}
        dictionary = Dictionary.from_tensors(config, {**empty, **given})
        out = dictionary(x) if written is None else written
        features = ActiveFeatures.at(dictionary, x, out, embed.new_ones(len(embed)))
        stages.append((Branch(Site("mlp_out", layer), features=features),))
        x = x + out
        streams.append(x)
    return Frozen(
        object.__new__(Replacement),
        torch.zeros(len(embed), dtype=torch.long),
        embed,
        None,
        tuple(stages),
        tuple(streams),
        unit,
        {},
    )


@pytest.fixture(scope="session")
def frozen_by_hand():
    return by_hand
