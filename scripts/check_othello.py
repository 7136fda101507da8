"""Compares the world of Othello with rules written by loops, position by position, and measures its games.

python scripts/check_othello.py --positions 100000 --games 200000 > docs/results/othello_world.json

The plain rules are those of tests/text/worlds/conftest.py. Exits with 1 if any position differs.
"""

import argparse
import importlib.util
import json
import math
import platform
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lmscope.core.rng import numpy_generator
from lmscope.text.worlds.othello import Othello

ROOT = Path(__file__).parents[1]
PLAIN_RULES = ROOT / "tests" / "text" / "worlds" / "conftest.py"
AT_ONCE = 20_000
"""Games that are held at a time."""


def main() -> None:
    asked = arguments()
    plain = load(PLAIN_RULES)
    found = {
        "command": f"python scripts/check_othello.py {' '.join(sys.argv[1:])}".strip(),
        "commit": commit(),
        "hardware": f"one thread of a shared {platform.machine()} machine, numpy {np.__version__}; games per second of processor time",
        "seed": asked.seed,
        "sizes": {
            str(size): {
                "compared": compared(Othello(size), plain, asked.positions, asked.seed),
                "statistics": statistics(Othello(size), asked.games, asked.seed),
            }
            for size in (6, 8)
        },
    }
    print(json.dumps(found, indent=1))
    sys.exit(any(one["compared"]["mismatches"] for one in found["sizes"].values()))


def compared(world: Othello, plain: ModuleType, n_positions: int, seed: int) -> dict[str, Any]:
    """Positions of random games, full or not, in which anything differs."""
    rng = numpy_generator(seed, "check", world.size)
    n_games = math.ceil(n_positions / (world.n_moves - 1))
    games = world.random_games(n_games, rng, full=False)
    wrong, n = plain.mismatches(world, games, world.replay(games.moves))
    return {
        "positions": n,
        "games": n_games,
        "games_that_end_early": int((games.length < world.n_moves).sum()),
        "forced_passes": int(games.passes.sum()),
        "mismatches": len(wrong),
    }


def statistics(world: Othello, n_games: int, seed: int) -> dict[str, Any]:
    """Of all games, those that end early among them; standard errors over games."""
    rng = numpy_generator(seed, "statistics", world.size)
    seconds, rows = 0.0, []
    for first in range(0, n_games, AT_ONCE):
        start = time.process_time()
        games = world.random_games(min(AT_ONCE, n_games - first), rng, full=False)
        seconds += time.process_time() - start
        count = np.bitwise_count(games.legal).astype(np.float64)
        nats = np.log(np.maximum(count, 1))
        full = games.length == world.n_moves
        rows.append([full, games.passes > 0, games.length, count.sum(1), nats.sum(1)])
    full, passed, length, choices, nats = (
        np.concatenate(column) for column in zip(*rows, strict=True)
    )
    return {
        "games": n_games,
        "games_per_second": round(n_games / seconds),
        "full_games": share(full),
        "games_with_a_forced_pass": share(passed),
        "legal_moves": per_move(choices, length),
        "entropy_nats": per_move(nats, length),
        "entropy_nats_of_full_games": per_move(nats[full], length[full]),
        "two_full_games_are_equal": chance_of_a_pair(nats[full]),
    }


def share(held: np.ndarray) -> dict[str, float]:
    p = float(held.mean())
    return {"value": round(p, 5), "standard_error": round(math.sqrt(p * (1 - p) / len(held)), 6)}


def per_move(sums: np.ndarray, length: np.ndarray) -> dict[str, float]:
    """A mean over moves, and its error from whole games."""
    mean = float(sums.sum() / length.sum())
    error = float((sums - mean * length).std() / math.sqrt(len(sums)) / length.mean())
    return {"value": round(mean, 5), "standard_error": round(error, 6)}


def chance_of_a_pair(nats: np.ndarray) -> dict[str, float]:
    """Of two drawn full games to be one game: the mean probability of a drawn game, estimated from games.

    Likely games are seldom and weigh much, so it is an estimate of the order only.
    """
    p = float(np.exp(-nats).mean())
    return {"probability": p, "any_two_of_twenty_million": p * 20e6**2 / 2}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_rules", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks for the module by name
    spec.loader.exec_module(module)
    return module


def commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=100_000, help="to compare, on each board")
    parser.add_argument("--games", type=int, default=200_000, help="to measure, on each board")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
