"""A graph through HTTP: the page, steps of its slider, links of a node, at 3,000 nodes and 200,000 links.

    python benchmarks/serve_graph.py --nodes 3000 --links 200000 --keep /tmp/serve-graph

Starts `lmscope serve` on a run with one synthetic graph (synthetic_graph.py) in a process of its own, and asks one
request after another over one connection, as a browser does (gzip). The first answer reads the file; all
others find the graph in memory. Times are of whole answers; `cpu_ms` is the processor time of the server.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from serve_features import Server, get, percentiles, plain, served
from synthetic_graph import write_run


def measure(server: Server, n: int) -> dict[str, object]:
    (line,) = json.loads(plain(server.connection, "/api/graphs"))["graphs"]
    graph = f"/api/graphs/{line['run']}/{line['name']}"
    first_ms, body = get(server.connection, graph)
    generator = np.random.default_rng(0)
    page = json.loads(plain(server.connection, graph))
    nodes = generator.permutation(page["nodes"]["place"])[:n].tolist()
    shares = generator.uniform(0.3, 1, size=n).round(3).tolist()
    found: dict[str, object] = {
        "first_page_ms": round(first_ms, 1),
        "first_page_sent_bytes": len(body),
        "whole_page": percentiles(server, lambda _: graph, n),
        "slider_step": percentiles(server, lambda i: f"{graph}?share={shares[i]}", n),
        "links_of_a_node": percentiles(server, lambda i: f"{graph}/links?node={nodes[i]}", n),
        "a_node": percentiles(server, lambda i: f"{graph}/node?node={nodes[i]}", n),
    }
    for by, share in (("label", 0.8), ("activation", 0.5)):
        path = f"{graph}/supernodes?by={by}&share={share}"
        found[f"groups_by_{by}"] = percentiles(server, lambda _, path=path: path, 5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=3_000)
    parser.add_argument("--links", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.keep or Path(name)
        if not list(root.glob("*-trace*")):
            write_run(root, options.nodes, options.links)
        with served(root) as server:
            figures = {
                "nodes": options.nodes,
                "links": options.links,
                "requests": options.requests,
                "seed": 0,
                "machine": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "load": os.getloadavg(),
                "start_s": round(server.start_s, 2),
                **measure(server, options.requests),
            }
    text = json.dumps(figures, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
