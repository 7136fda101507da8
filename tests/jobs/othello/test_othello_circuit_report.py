import pytest

from lmscope.core.errors import DataError
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.jobs.othello_circuit_totals import (
    GameSums,
    Totals,
    logit_finding,
)


def test_shares_are_ratios_of_sums_over_games():
    def game(number, n, has, of, nodes):
        sums = {"logit n": (n,)}
        for arm, part in (("circuit", 1), ("same places", 0.5), ("anywhere", 0)):
            sums[f"logit {arm} has"] = tuple(part * x for x in has)
            sums[f"logit {arm} of"] = tuple(part * x for x in of)
            sums[f"logit {arm} nodes"] = (nodes,)
        return GameSums(game=number, n_places=int(n), sums=sums)

    games = [game(0, 1.0, (1, 0, 0), (2, 0, 0), 10.0), game(1, 3.0, (1, 3, 0), (4, 6, 0), 30.0)]
    found = logit_finding(Totals(games, BootstrapOptions(n_resamples=50), 0))
    assert found.n_places == 4
    circuit, alike, _ = found.arms
    assert circuit.has["line"].value == pytest.approx(2 / 4)
    assert circuit.has["state"].value == pytest.approx(3 / 4)
    assert circuit.share["line"].value == pytest.approx(6 / 40)
    assert circuit.n_features == 10
    assert alike.has["line"].value == pytest.approx(1 / 4)
    assert found.more["line"].value == pytest.approx(1 / 4)
    assert circuit.has["line"].low == pytest.approx(1 / 3)  # the second game alone
    with pytest.raises(DataError, match="No game has a place"):
        Totals([], BootstrapOptions(), 0)
