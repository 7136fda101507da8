"""A synthetic graph of any size, in a run as `lmscope trace` leaves one: for measuring what shows it.

    python benchmarks/synthetic_graph.py FOLDER --nodes 3000 --links 200000

Features of many layers and positions with links from lower to upper ones; sizes of flows are spread over
four decades, as those of real prompts are, and half of the features have a label.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from lmscope.circuits.graph import Graph, GraphDictionary, GraphMeta, GraphNode
from lmscope.core.files import write_text
from lmscope.jobs.trace import TraceRecipe
from lmscope.jobs.trace_record import GRAPHS, Predicted, TraceRecord, as_json
from lmscope.runs.run import Run

N_LAYERS = 30
N_TOKENS = 64
N_LATENTS = 4608
N_CONSTANTS = 60
WORDS = ("names", "of", "towns", "after", "verbs", "numbers", "in", "brackets", "past", "tense")


def write_run(root: Path, n_nodes: int, n_links: int, seed: int = 0) -> Path:
    """A run that holds one graph called `0000-synthetic`."""
    recipe = TraceRecipe.from_mapping(
        {"dictionaries": {"sources": ["none"]}, "prompts": {"texts": ["synthetic"]}}
    )
    with Run.create(root, recipe) as run:
        run.note_weights({"synthetic": "0" * 64})
        graph = synthetic(n_nodes, n_links, seed)
        folder = run.artifacts / GRAPHS
        folder.mkdir()
        graph.save(folder / "0000-synthetic.graph")
        write_text(folder / "0000-synthetic.json", as_json(found(graph).to_mapping()))
        write_text(run.artifacts / "labels.json", json.dumps(labels(graph, seed)))
    return run.path


def synthetic(n_nodes: int, n_links: int, seed: int = 0) -> Graph:
    """A graph with so many nodes (constants left out) and links."""
    generator = np.random.default_rng(seed)
    n_errors = n_nodes // 20
    n_features = n_nodes - 1 - N_TOKENS - n_errors
    layers = np.sort(generator.integers(N_LAYERS, size=n_features))
    places = generator.integers(1, N_TOKENS, size=n_features)
    latents = generator.integers(N_LATENTS, size=n_features)
    keys = np.unique(np.stack([layers, places, latents], 1), axis=0)
    sizes = 10 ** generator.uniform(-4, 0, size=n_nodes) * generator.choice([1, -0.4], size=n_nodes)
    nodes = [
        GraphNode(id="target", kind="target", attribution=12.0, position=N_TOKENS - 1, token=5)
    ]
    nodes += [
        GraphNode(
            id=f"mlp_out@{layer}/{latent}@{place}",
            kind="feature",
            attribution=float(size),
            site=f"mlp_out@{layer}",
            layer=layer,
            position=place,
            latent=latent,
            activation=float(abs(size) * 3),
        )
        for (layer, place, latent), size in zip(keys.tolist(), sizes, strict=False)
    ]
    n_left = n_nodes - 1 - N_TOKENS - len(keys)  # a few were drawn twice
    nodes += [
        GraphNode(id=f"token@{i}", kind="token", attribution=0.1, position=i, token=i)
        for i in range(N_TOKENS)
    ]
    nodes += [
        GraphNode(
            id=f"error:mlp_out@{i // N_TOKENS}@{i % N_TOKENS}",
            kind="error",
            attribution=0.01,
            site=f"mlp_out@{i // N_TOKENS}",
            layer=i // N_TOKENS,
            position=i % N_TOKENS,
        )
        for i in range(n_left)
    ]
    nodes += [
        GraphNode(id=f"bias:b_{i}", kind="bias", attribution=0.001) for i in range(N_CONSTANTS)
    ]
    source, goal = links(nodes, n_links, generator)
    flow = 10 ** generator.uniform(-4, 0, size=len(source)) * generator.choice([1, -1], len(source))
    return Graph(meta(), tuple(nodes), source, goal, flow.astype(np.float32))


def links(
    nodes: list[GraphNode], n: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """So many different pairs, each from a lower half layer to an upper one at no earlier position."""
    usable = [i for i, node in enumerate(nodes) if node.kind != "bias"]
    row = {"token": -1, "target": N_LAYERS}
    rows = np.array([row.get(one.kind, one.layer or 0) for one in nodes])
    places = np.array([one.position or 0 for one in nodes])
    takes = np.array([one.kind in ("feature", "target") for one in nodes])
    found = np.empty((0, 2), dtype=np.int64)
    while len(found) < n:
        pairs = generator.choice(usable, size=(2 * n, 2))
        lower, upper = pairs[:, 0], pairs[:, 1]
        fits = (rows[lower] < rows[upper]) & (places[lower] <= places[upper]) & takes[upper]
        found = np.unique(np.concatenate([found, pairs[fits]]), axis=0)
    chosen = np.sort(generator.choice(len(found), size=n, replace=False))
    return found[chosen, 0].astype(np.int32), found[chosen, 1].astype(np.int32)


def meta() -> GraphMeta:
    texts = tuple(f" {WORDS[i % len(WORDS)]}" for i in range(N_TOKENS))
    ledger = {"target": 12.0, "tokens": 5.0, "positions": 0.0, "errors": 3.0, "leaves": 0.0}
    ledger |= {"biases": 3.0, "cut": 1.0, "residual": 1e-6, "tolerance": 1e-3, "recovered": 0.4}
    own = tuple(
        GraphDictionary(
            site=f"mlp_out@{layer}",
            reads=f"mlp_norm@{layer}",
            name=f"mlp-{layer}",
            n_latents=N_LATENTS,
        )
        for layer in range(N_LAYERS)
    )
    return GraphMeta(
        prompt="".join(texts),
        tokens=tuple(range(N_TOKENS)),
        texts=texts,
        model="synthetic",
        weights_hash="0" * 64,
        n_layers=N_LAYERS,
        dictionaries=own,
        target='logit " names" @63',
        value=12.0,
        options={"threshold": 0.0001, "relative": True, "rule": "abs", "mlp": "gates"},
        ledger={**ledger, "by_bias": {}, "by_error": {}, "by_leaf": {}},
        n_reached=50_000,
    )


def found(graph: Graph) -> TraceRecord:
    return TraceRecord(
        name="0000-synthetic",
        prompt=graph.meta.prompt,
        target=graph.meta.target,
        value=graph.meta.value,
        recovered=0.4,
        ledger={k: v for k, v in graph.ledger.items() if k != "recovered"},
        n_features=sum(node.kind == "feature" for node in graph.nodes),
        n_reached=graph.meta.n_reached,
        n_nodes=len(graph),
        n_edges=len(graph.flow),
        n_tokens=N_TOKENS,
        position=N_TOKENS - 1,
        predictions=(Predicted(token=5, text=" names", probability=0.5, logit=12.0),),
    )


def labels(graph: Graph, seed: int) -> dict[str, str]:
    generator = np.random.default_rng(seed + 1)
    named = {f"mlp-{n.layer}/{n.latent}" for n in graph.nodes if n.kind == "feature"}
    chosen = sorted(named)[::2]
    return {one: " ".join(generator.choice(WORDS, size=4)) for one in chosen}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=3_000)
    parser.add_argument("--links", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(write_run(options.folder, options.nodes, options.links, options.seed))
