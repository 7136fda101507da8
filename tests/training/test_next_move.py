import numpy as np
import pytest
import torch

from lmscope.core.rng import numpy_generator
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.miniature import miniature
from lmscope.text.context_stream import ContextBatch
from lmscope.text.worlds.games import GameBatch, game_batch
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello
from lmscope.training.next_move import NextMove
from lmscope.training.next_token import NextToken
from lmscope.training.objective import Objective

WORLD = Othello(6)
SHAPE = ModelShape(
    family="gpt2", n_layers=1, d_model=16, n_heads=2, d_hidden=24, max_positions=WORLD.n_moves
)


@pytest.fixture(scope="module")
def model():
    made = fresh_model(SHAPE, othello_tokenizer(6), name="player", seed=1)
    with torch.no_grad():  # far from uniform, so that every token matters
        made.hf.lm_head.weight.mul_(50)
    return made


@pytest.fixture(scope="module")
def batch():
    """Six games, of which the first ends before the board is full."""
    games = WORLD.random_games(400, numpy_generator(3, "games"), full=False)
    short = np.flatnonzero(games.length < WORLD.n_moves)[:1]
    full = np.flatnonzero(games.length == WORLD.n_moves)[:5]
    return game_batch(games.take(np.concatenate([short, full])))


def one_by_one(model, batch, labels):
    """Nats of every predicted move, by a loop over games read alone and without what is behind their end."""
    found = []
    for tokens, mask, legal in zip(*batch, strict=True):
        n = int(mask.sum())
        with torch.no_grad():
            logits = model.hf(input_ids=tokens[None, :n]).logits[0].double()
        for place in range(n - 1):
            surprise = -logits[place].log_softmax(-1)
            allowed = [i for i in range(WORLD.n_tokens) if legal[place, i]]
            assert int(tokens[place + 1]) in allowed
            wanted = allowed if labels == "soft" else [int(tokens[place + 1])]
            found.append(float(surprise[wanted].mean()))
    return found


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_loss_is_that_of_each_game_read_alone(model, batch, labels):
    assert 0 < int((~batch.mask).sum()) < 32
    loss = NextMove(model, labels=labels).loss(batch, 0)
    wanted = one_by_one(model, batch, labels)
    assert int(loss.weight) == len(wanted) == int(batch.mask[:, 1:].sum())
    assert float(loss.sum.detach()) == pytest.approx(sum(wanted), rel=1e-5)


def test_hard_and_soft_labels_differ_where_more_than_one_move_is_legal(model, batch):
    hard, soft = (NextMove(model, labels=labels).loss(batch, 0) for labels in ("hard", "soft"))
    assert abs(float((hard.sum - soft.sum).detach())) > 1.0
    assert all(torch.equal(hard.terms[name], soft.terms[name]) for name in soft.terms)


def test_hard_labels_are_those_of_a_language_model(model, batch):
    full = GameBatch(*(value[1:] for value in batch))
    hard = NextMove(model, labels="hard").loss(full, 0)
    token = NextToken(model).loss(ContextBatch(full.tokens, full.mask), 0)
    assert float(hard.sum.detach()) == pytest.approx(float(token.sum.detach()), rel=1e-5)


def test_what_stands_behind_the_end_changes_nothing(model, batch):
    filled = batch.tokens.masked_fill(~batch.mask, 7)
    changed = GameBatch(filled, batch.mask, batch.legal)
    for labels in ("hard", "soft"):
        objective = NextMove(model, labels=labels)
        sums = [objective.loss(games, 0).sum for games in (batch, changed)]
        assert torch.equal(*sums)


def test_terms_count_legal_moves(model, batch):
    terms = NextMove(model, labels="soft").loss(batch, 0).terms
    top, mass, floor = [], [], []
    for tokens, mask, legal in zip(*batch, strict=True):
        n = int(mask.sum())
        p = model.hf(input_ids=tokens[None, :n]).logits[0].detach().softmax(-1)
        for place in range(n - 1):
            top.append(bool(legal[place, int(p[place].argmax())]))
            mass.append(float(p[place][legal[place]].sum()))
            floor.append(float(np.log(int(legal[place].sum()))))
    found = [float(terms[name]) for name in ("legal_top1", "legal_mass", "floor")]
    assert found == pytest.approx([np.mean(top), np.mean(mass), np.mean(floor)], rel=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_only_matrices_of_the_layers_decay(family):
    model = miniature(family)
    decaying, rest = NextMove(model, weight_decay=0.3).parameter_groups()
    every = dict(model.hf.named_parameters())
    assert decaying.parameters.keys() | rest.parameters.keys() == every.keys()
    assert (decaying.weight_decay, rest.weight_decay) == (0.3, 0.0)
    blocks = ".h." if family == "gpt2" else ".layers."
    wanted = {name for name, p in every.items() if blocks in name and p.dim() == 2}
    assert set(decaying.parameters) == wanted


def test_it_is_an_objective(model):
    assert isinstance(NextMove(model), Objective)
