"""Players of random weights, and dictionaries whose latents are known to read one token each."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.othello_nodes import LatentLabel
from lmscope.jobs.othello_train import PlayerShape
from lmscope.models.fresh import fresh_model
from lmscope.models.language_model import LanguageModel
from lmscope.text.worlds.notation import othello_tokenizer
from lmscope.text.worlds.othello import Othello

WORLD = Othello(6)
WIDTH = 40
"""More than there are tokens, so that a latent can read each alone."""


@pytest.fixture(scope="session")
def random_player() -> Callable[..., LanguageModel]:
    """`random_player(mixing)`: a player of random weights without position embeddings; how much its attention writes."""

    def random_player(mixing: float = 1.0) -> LanguageModel:
        shape = PlayerShape(n_layers=1, d_model=WIDTH, n_heads=2, d_hidden=16)
        made = fresh_model(shape, othello_tokenizer(6), name="random", seed=1)
        with torch.no_grad():
            made.hf.transformer.wpe.weight.zero_()
            made.hf.transformer.wte.weight.mul_(20)
            made.hf.transformer.h[0].attn.c_proj.weight.mul_(mixing)
        return made

    return random_player


@pytest.fixture(scope="session")
def token_dictionary() -> Callable[..., Dictionary]:
    """`token_dictionary(model, site, sign, bias)`: latent t - 1 is sign times whether token t stands there, plus a bias.

    It writes the token's embedding.
    """

    def token_dictionary(
        model: LanguageModel, site: Site, sign: float = 1.0, bias: float = -1e-3
    ) -> Dictionary:
        config = DictionaryConfig(
            reads=(str(site),),
            writes=(str(site),),
            d_read=WIDTH,
            d_write=WIDTH,
            n_latents=WORLD.n_moves,
            sparsity=ReLU(),
            normalisation="none",
            model=model.name,
        )
        made, embedding = Dictionary(config), model.hf.transformer.wte.weight.detach()[1:]
        with torch.no_grad():
            made.W_dec.copy_(embedding)
            made.W_enc.copy_(sign * torch.linalg.pinv(embedding).T)
            made.b_enc.fill_(bias)
            made.b_dec.zero_()
        return made

    return token_dictionary


@pytest.fixture(scope="session")
def square_labels() -> Callable[..., dict[int, tuple[LatentLabel, ...]]]:
    """`square_labels(family, threshold)`: each latent says something of the square of its token."""

    def square_labels(family: str, threshold: float = 0.0) -> dict[int, tuple[LatentLabel, ...]]:
        return {
            i: (LatentLabel(f"{family} {WORLD.square_name(square)}", threshold),)
            for i, square in enumerate(WORLD.squares)
        }

    return square_labels


@pytest.fixture(scope="session")
def player_folder(random_player, token_dictionary, tmp_path_factory) -> Path:
    """A player in `model`, and a dictionary of its tokens at the beginning of the stream in `planted`."""
    path, made = tmp_path_factory.mktemp("player"), random_player()
    made.hf.save_pretrained(path / "model")
    made.tokenizer.save_pretrained(path / "model")
    loaded = LanguageModel.load(str(path / "model"), device="cpu")
    token_dictionary(loaded, Site("resid_pre", 0)).save(path / "planted")
    return path
