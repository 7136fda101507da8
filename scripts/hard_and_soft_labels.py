"""Players of Othello trained on hard and on soft labels, with equal games, shapes and seeds.

python scripts/hard_and_soft_labels.py --games 64000 128000 256000 --seeds 0 1 2 > docs/results/othello_labels.json

Each player has the shape that `lmscope othello train` gives where no recipe is named (2 layers, width 64), is trained to
its last step, and measured on games that were held out, the same for both kinds of a seed.
"""

import argparse
import json
import platform
import sys
import tempfile
from typing import Any

import torch

from lmscope.jobs.othello_train import FOLDER, REPORT_FILE, OthelloRecipe, train_othello

FIGURES = ("legal_top1", "legal_mass", "nats_per_move", "floor_nats", "divergence_nats")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--games", type=int, nargs="+", default=[64_000, 128_000, 256_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-games", type=int, default=128)
    asked = parser.parse_args()
    rows = []
    for n_games in asked.games:
        for seed in asked.seeds:
            for labels in ("hard", "soft"):
                found = trained(asked, n_games, seed, labels)
                rows.append(found)
                sys.stderr.write(f"{labels} {n_games:,} seed {seed}: {found['legal_top1']:.4f}\n")
    record = {
        "command": " ".join(["python", *sys.argv]),
        "hardware": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}",
        "rows": rows,
    }
    print(json.dumps(record, indent=1))


def trained(asked: argparse.Namespace, n_games: int, seed: int, labels: str) -> dict[str, Any]:
    """One player, and how well it keeps to the rules on games that were held out."""
    games = {"n_games": n_games, "batch_games": asked.batch_games}
    recipe = OthelloRecipe.from_mapping({"labels": labels, "seed": seed, "games": games})
    with tempfile.TemporaryDirectory() as root:
        run = train_othello(recipe, root=root)
        text = (run.artifacts / FOLDER / REPORT_FILE).read_text(encoding="utf-8")
        rows = run.metrics_rows()
    score = json.loads(text)
    figures = {name: score[name]["value"] for name in FIGURES}
    intervals = {name: [score[name]["low"], score[name]["high"]] for name in FIGURES}
    return {
        "labels": labels,
        "n_games": n_games,
        "seed": seed,
        **figures,
        "intervals": intervals,
        "n_steps": rows[-1]["step"],
    }


if __name__ == "__main__":
    main()
