"""Boards, readings and traces of a player through the addresses, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from lmscope.circuits.graph import Graph
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.server.app import create_app
from lmscope.server.live.process import Worker
from lmscope.server.live.protocol import line, read_line, refusal_of
from lmscope.server.schemas.othello import Said
from lmscope.server.settings import ServeSettings
from lmscope.server.views.graph_labels import _spoken
from lmscope.text.worlds.drawing import position_after
from lmscope.text.worlds.othello import Othello

WORLD = Othello(6)
WRITE = {"X-Lmscope": "1"}
GAME = "c2 d2 e2 d1 e4 f2 e1 d5"


class Within:
    """The process with the model, in this process."""

    def __init__(self):
        self.said = []
        self.worker = Worker(lambda text: self.said.append(read_line(text)))

    async def ask(self, kind, payload):
        self.worker.do(read_line(line({"request": 1, "kind": kind, "payload": payload})))
        found = self.said[-1]
        if "refused" in found:
            raise refusal_of(found)
        assert "answer" in found, found
        return found["value"]

    async def close(self):
        """Nothing to end."""


@pytest.fixture(scope="module")
def within():
    return Within()


@pytest.fixture
def served(within):
    """`served(root)`: a client of a server whose model answers in this process."""

    def served(root, **settings):
        app = create_app(ServeSettings(folders=(root,), **settings))
        app.state.context.live = within
        return TestClient(app, base_url="http://127.0.0.1:8710", headers=WRITE)

    return served


@pytest.fixture
def client(served, othello_library):
    return served(othello_library.root)


def refusal(answer) -> str:
    error = answer.json()["error"]
    return f"{error['message']} {error['hint'] or ''}".strip()


def test_players_are_those_that_were_trained_with_their_dictionaries(client, othello_library):
    found = {one["run"]: one for one in client.get("/api/othello").json()["players"]}
    assert found.keys() == {othello_library.player, othello_library.stopped}
    mine = found[othello_library.player]
    assert (mine["name"], mine["size"], mine["status"]) == ("small-player", 6, "done")
    assert mine["n_dictionaries"] == 2
    assert 0 < mine["legal_top1"] <= 1
    assert found[othello_library.stopped]["legal_top1"] is None


def test_a_run_of_dictionaries_has_the_board_of_their_player(client, othello_library):
    by_features = client.get(f"/api/othello/{othello_library.features}").json()
    assert by_features == client.get(f"/api/othello/{othello_library.player}").json()
    assert by_features["sources"] == [othello_library.features]
    assert by_features["labelled"] == list(othello_library.dictionaries)
    for run, board in (
        (othello_library.player, othello_library.player),
        (othello_library.features, othello_library.player),
        (othello_library.stopped, None),
        (othello_library.other, None),
    ):
        assert client.get(f"/api/runs/{run}").json()["player"] == board


def test_dictionaries_whose_player_is_not_served_have_a_board_too(served, own_othello):
    (own_othello.root / own_othello.player).rename(own_othello.root.parent / "elsewhere")
    client = served(own_othello.root)
    found = client.get("/api/othello").json()["players"]
    assert own_othello.features in {one["run"] for one in found}
    # Its dictionaries say where the model lies: where the library was made.
    body = {"game": GAME, "dictionary": None}
    answer = client.post(f"/api/othello/{own_othello.features}/read", json=body)
    assert len(answer.json()["moves"]) == 8


def test_places_of_a_game_are_those_of_the_rules(client, othello_library):
    answer = client.post(f"/api/othello/{othello_library.player}/game", json={"game": GAME.upper()})
    found = answer.json()
    assert (found["game"], found["size"], len(found["places"])) == (GAME, 6, 9)
    words = GAME.split()
    for n, place in enumerate(found["places"]):
        position = position_after(" ".join(words[:n]), WORLD)
        named = {
            key: tuple(WORLD.square_name(square) for square in place[key])
            for key in ("black", "white", "legal")
        }
        assert named == {key: getattr(position, key) for key in named}
        assert place["next"] == position.to_move
        assert place["move"] == (None if n == 0 else WORLD.square_of(words[n - 1]))


def test_a_pass_is_told_where_the_same_player_moves_again(client, othello_library):
    rng = np.random.default_rng(0)
    games = WORLD.random_games(400, rng, full=False)
    game = games.moves[np.flatnonzero(games.passes)[0]]
    text = " ".join(WORLD.square_name(square) for square in game if square >= 0)
    answer = client.post(f"/api/othello/{othello_library.player}/game", json={"game": text})
    places = answer.json()["places"]
    passed = [place for place in places if place["passed"]]
    assert passed
    assert all(place["next"] == place["by"] for place in passed)
    assert places[-1]["next"] is None


def test_random_games_are_named_by_their_seed(client, othello_library):
    at = f"/api/othello/{othello_library.player}/random"
    one = client.get(at, params={"seed": 3}).json()
    assert one == client.get(at, params={"seed": 3}).json()
    assert one["game"] != client.get(at, params={"seed": 4}).json()["game"]
    assert len(one["places"]) == 33


def test_the_model_is_read_as_it_is(client, othello_library):
    model = LanguageModel.load(
        str(othello_library.root / othello_library.player / "artifacts" / "model"), device="cpu"
    )
    body = {"game": GAME, "dictionary": None}
    found = client.post(f"/api/othello/{othello_library.player}/read", json=body).json()
    tokens = torch.tensor([[int(WORLD.token_of[WORLD.square_of(word)]) for word in GAME.split()]])
    with torch.no_grad():
        expected = model(Batch(tokens=tokens)).logits[0].softmax(-1)
    assert len(found["moves"]) == 8
    for place, move in enumerate(found["moves"]):
        own = np.array(move["probabilities"])
        np.testing.assert_allclose(own[WORLD.squares], expected[place, 1:].numpy(), rtol=1e-3)
        position = position_after(" ".join(GAME.split()[: place + 1]), WORLD)
        legal = [WORLD.square_of(name) for name in position.legal]
        assert move["legal_mass"] == pytest.approx(own[legal].sum(), rel=1e-3)
        assert move["latents"] == []


def test_latents_that_are_on_come_with_what_they_say(client, othello_library):
    report = json.loads(othello_library.labels.read_text())
    names = {
        one["id"]: one["name"]
        for one in client.get(f"/api/othello/{othello_library.player}").json()["dictionaries"]
    }
    for id_ in othello_library.dictionaries:
        body = {"game": GAME, "dictionary": id_}
        found = client.post(f"/api/othello/{othello_library.player}/read", json=body).json()
        assert found["problems"] == []
        assert not found["moves"][0]["counts"]
        assert all(move["n_on"] == 4 for move in found["moves"] if move["counts"])
        (truth,) = (one for one in report["dictionaries"] if one["name"] == names[id_])
        said = {
            one["latent"]: [label["label"] for label in (*one["labels"], *one["precise"])]
            for one in truth["latents"]
        }
        on = {one["latent"] for move in found["moves"] for one in move["latents"]}
        assert {one["latent"] for one in found["latents"]} == on
        for one in found["latents"]:
            labels = [label["label"] for label in one["says"]]
            assert set(labels) == set(said.get(one["latent"], []))
            assert len(set(labels)) == len(labels)
            best = [label["f1"] for label in one["says"] if label["f1"] is not None]
            assert [label["f1"] for label in one["says"]][: len(best)] == best


def test_what_is_said_precisely_comes_after_the_best_labels(served, own_othello):
    values = json.loads(own_othello.labels.read_text())
    for one in values["dictionaries"]:
        for latent in one["latents"]:
            latent["labels"] = []
            latent["precise"] = [
                {"label": "mine a1", "threshold": 0.5, "precision": 0.96, "n_fired": 12},
                {"label": "yours b1", "threshold": 0.1, "precision": 0.99, "n_fired": 40},
            ]
    own_othello.labels.write_text(json.dumps(values))
    with served(own_othello.root) as client:
        body = {"game": GAME, "dictionary": own_othello.dictionaries[0]}
        found = client.post(f"/api/othello/{own_othello.player}/read", json=body).json()
    says = found["latents"][0]["says"]
    assert [one["label"] for one in says] == ["yours b1", "mine a1"]
    assert says[0] == {
        "label": "yours b1", "threshold": 0.1, "f1": None, "precision": 0.99, "recall": None
    }  # fmt: skip


def test_a_traced_square_is_a_graph_of_its_logit(served, own_othello, relabel):
    relabel(own_othello, "mine e5")
    client = served(own_othello.root)
    square = WORLD.square_of("e5")
    body = {"game": GAME, "at": 5, "square": square, "dictionaries": own_othello.features}
    answer = client.post(f"/api/othello/{own_othello.player}/trace", json=body)
    assert answer.status_code == 201, answer.text
    run, name = answer.json()["run"], answer.json()["name"]
    page = client.get(f"/api/graphs/{run}/{name}").json()
    assert page["meta"]["prompt"] == " ".join(GAME.split()[:5])
    assert page["player"] == own_othello.player
    assert {"mine e5"} == {label for label in page["nodes"]["label"] if label}
    graph = Graph.load(own_othello.root / run / "artifacts" / "graphs" / f"{name}.graph")
    assert graph.nodes[0].token == int(WORLD.token_of[square])
    assert {one.site for one in graph.meta.dictionaries} == {"attn_out@0", "mlp_out@0"}
    plain = client.post(
        f"/api/othello/{own_othello.player}/trace", json={**body, "dictionaries": None}
    ).json()
    found = Graph.load(
        own_othello.root / plain["run"] / "artifacts" / "graphs" / f"{plain['name']}.graph"
    )
    assert found.meta.dictionaries == ()
    assert found.meta.value == pytest.approx(graph.meta.value, abs=1e-3)


def test_a_node_bears_what_its_feature_says_where_it_is_so_active():
    best = Said(label="mine a1", threshold=2.0, f1=0.8, precision=0.8, recall=0.8)
    rare = Said(label="yours b1", threshold=1.0, f1=None, precision=0.96, recall=None)
    assert _spoken((best, rare), 3.0) == "mine a1"
    assert _spoken((best, rare), 1.5) == "yours b1"
    assert _spoken((best, rare), 0.5) == "mine a1"
    assert _spoken((rare,), 0.5) is None
    assert _spoken((), 9.0) is None


@pytest.mark.parametrize(
    ("game", "sentence"),
    [
        ("a1", "Move 1: a1 is not legal for black there; legal are c2, b3, e4, d5."),
        ("h8", "'h8' is no square of a board of 6 by 6: squares go from a1 to f6"),
        ("c2 c2", "Move 2: c2 is not legal for white there"),
        ("<img src=x onerror=alert(1)>", "'<img' is no square of a board of 6 by 6"),
        ("c2 " * 40, "has at most 32 moves, not 40"),
    ],
)
def test_a_game_against_the_rules_is_refused_in_a_sentence(client, othello_library, game, sentence):
    for what, more in (("game", {}), ("read", {}), ("trace", {"at": 1, "square": 0})):
        at = f"/api/othello/{othello_library.player}/{what}"
        answer = client.post(at, json={"game": game, **more})
        assert answer.status_code == 422
        assert sentence in refusal(answer)


def test_squares_and_places_that_are_not_there_are_refused(client, othello_library):
    at = f"/api/othello/{othello_library.player}/trace"
    for body, sentence in (
        ({"at": 9, "square": 0}, "The game has 8 moves, so there is no position after 9."),
        ({"at": 2, "square": 14}, "c3 is taken from the start and is no move, so it has no logit."),
        ({"at": 2, "square": 40}, "There is no square 40 on a board of 6 by 6."),
        ({"at": 2, "square": 0, "dictionaries": "x"}, "The run 'x' has no dictionaries of"),
    ):
        answer = client.post(at, json={"game": GAME, **body})
        assert answer.status_code == 422
        assert sentence in refusal(answer)


def test_runs_that_are_no_player_are_refused(client, othello_library):
    for run, status, sentence in (
        (othello_library.stopped, 422, "is not finished (interrupted), so there is no player."),
        (othello_library.other, 422, "is of no model that plays Othello (its job is lm)."),
        ("nothing", 404, "There is no run 'nothing'."),
    ):
        answer = client.get(f"/api/othello/{run}")
        assert answer.status_code == status
        assert sentence in refusal(answer)
    stopped = refusal(client.get(f"/api/othello/{othello_library.stopped}"))
    assert f"lmscope othello train --resume {othello_library.stopped}" in stopped


def test_a_dictionary_of_another_model_is_refused(served, own_othello):
    folder = own_othello.root / own_othello.features / "artifacts" / "dictionaries"
    dictionary = Dictionary.load(next(folder.iterdir()))
    dictionary.config = dictionary.config.model_copy(update={"model_hash": "0" * 64})
    dictionary.save(folder / "stranger")
    client = served(own_othello.root)
    lines = client.get("/api/home").json()["dictionaries"]
    (other,) = (one["id"] for one in lines if one["name"] == "stranger")
    body = {"game": GAME, "dictionary": other}
    answer = client.post(f"/api/othello/{own_othello.player}/read", json=body)
    assert answer.status_code == 422
    assert "is not of 'small-player'" in refusal(answer)


def test_a_player_of_another_board_than_its_recipe_says_is_refused(served, own_othello):
    recipe = own_othello.root / own_othello.player / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("size = 6", "size = 8"))
    client = served(own_othello.root)
    body = {"game": "c4 c3", "dictionary": None}
    answer = client.post(f"/api/othello/{own_othello.player}/read", json=body)
    assert answer.status_code == 422
    assert "plays on 6 by 6 squares and the game is on 8 by 8" in refusal(answer)


def test_damaged_labels_are_told_of_and_the_rest_is_shown(served, own_othello):
    own_othello.labels.write_text('{"weights_hash": "a", "size": 6, "dictionaries": [{}]}')
    (own_othello.labels.parent / "torn.json").write_text('{"weights')
    (own_othello.labels.parent / "else.json").write_text("[1, 2]")
    client = served(own_othello.root)
    found = client.get(f"/api/othello/{own_othello.player}").json()
    assert found["labelled"] == []
    assert len(found["problems"]) == 2
    body = {"game": GAME, "dictionary": own_othello.dictionaries[0]}
    read = client.post(f"/api/othello/{own_othello.player}/read", json=body).json()
    assert len(read["problems"]) == 2
    assert all(one["says"] == [] for one in read["latents"])


def test_a_server_that_changes_nothing_traces_nothing(served, othello_library):
    client = served(othello_library.root, read_only=True)
    assert client.get(f"/api/othello/{othello_library.player}").json()["read_only"]
    body = {"game": GAME, "at": 2, "square": 0}
    answer = client.post(f"/api/othello/{othello_library.player}/trace", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only")


def test_boards_need_no_torch_in_the_web_process(othello_library):
    program = f"""
import sys
from pathlib import Path
from starlette.testclient import TestClient
from lmscope.server.app import create_app
from lmscope.server.settings import ServeSettings
app = create_app(ServeSettings(folders=(Path({str(othello_library.root)!r}),)))
with TestClient(app, base_url="http://127.0.0.1:8710", headers={WRITE!r}) as client:
    at = "/api/othello/" + {othello_library.player!r}
    assert client.get("/api/othello").status_code == 200
    assert client.get(at).json()["labelled"]
    assert client.get(at + "/random").status_code == 200
    assert client.post(at + "/game", json={{"game": {GAME!r}}}).status_code == 200
sys.exit("torch" in sys.modules or "transformers" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr or "torch or transformers was imported"
