"""What fires on a text and how a prompt goes on, through the addresses, on the miniature model."""

import json
import shlex
import shutil

import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.cli.main import main
from lmscope.jobs.atlas_probe import probe_text
from lmscope.jobs.running import Silent
from lmscope.server.schemas.live import ProbeAnswer, SteerAnswer

TEXT = "the sea hid a stone."


@pytest.fixture
def client(served, small_library):
    return served(small_library.root)


def probe(client, *dictionaries, **changes):
    body = {"text": TEXT, "dictionaries": list(dictionaries), **changes}
    return client.post("/api/live/probe", json=body)


def steer(client, dictionary, **changes):
    body = {
        "dictionary": dictionary,
        "latents": [3],
        "amount": "5",
        "prompt": "note a",
        "n_tokens": 4,
        **changes,
    }
    return client.post("/api/live/steer", json=body)


def refused(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return f"{error['message']} {error['hint'] or ''}".strip()


def test_the_test_box_tells_what_the_command_tells(client, small_library):
    (found,) = ProbeAnswer.model_validate(probe(client, small_library.narrow).json()).probed
    with Atlas.open(small_library.atlas, name="resid_post-1-64-topk-4") as atlas:
        wanted = probe_text(atlas, TEXT, Silent())
        features = {one.latent: atlas[one.latent] for one in found.latents}
    assert [one.id for one in found.tokens] == list(wanted.tokens)
    assert [one.counts for one in found.tokens] == wanted.counts.tolist()
    assert "".join(one.text for one in found.tokens).endswith(TEXT)
    ranked = wanted.ranked(30)
    assert [one.latent for one in found.latents] == [one.latent for one in ranked]
    assert found.n_firing == len(wanted.ranked())
    for one in found.latents:
        assert one.values == pytest.approx(wanted.activations(one.latent).tolist(), rel=1e-5)
        assert one.values[one.peak] == pytest.approx(one.max, rel=1e-5)
        assert one.label == features[one.latent].label
        assert one.record_max == pytest.approx(features[one.latent].record.max)
        assert one.density == pytest.approx(features[one.latent].record.density)


def test_latents_that_are_asked_for_are_shown_also_where_they_are_silent(client, small_library):
    first = probe(client, small_library.narrow, n=64).json()["probed"][0]
    fires = [one["latent"] for one in first["latents"]]
    silent = next(i for i in range(64) if i not in fires)
    asked = [fires[-1], silent]
    found = probe(client, small_library.narrow, n=1, latents=asked).json()["probed"][0]
    assert [one["latent"] for one in found["latents"]] == [fires[0], *asked]
    assert found["latents"][-1]["max"] == 0
    assert not any(found["latents"][-1]["values"])


def test_latents_are_ranked_as_asked(client, small_library):
    for by, key in (("max", "max"), ("sum", "sum"), ("tokens", "n_tokens")):
        found = probe(client, small_library.narrow, by=by).json()["probed"][0]["latents"]
        values = [one[key] for one in found]
        assert values == sorted(values, reverse=True)


def test_several_dictionaries_are_asked_and_those_without_weights_are_told(client, small_library):
    answer = probe(client, small_library.hostile_id, small_library.wide, small_library.narrow)
    found = ProbeAnswer.model_validate(answer.json())
    assert [one.dictionary.id for one in found.probed] == [small_library.wide, small_library.narrow]
    (problem,) = found.problems
    assert "The weights of '20260101-000000-hostile' are not here" in problem.message


def test_dictionaries_that_cannot_be_asked_are_refused_in_a_sentence(client, small_library):
    assert "Serve the run that trained it" in refused(probe(client, small_library.packed_id), 422)
    assert "There is no dictionary 'nothing'" in refused(probe(client, "nothing"), 404)


def test_a_text_that_is_too_long_for_the_model_is_refused_with_its_limit(client, small_library):
    said = refused(probe(client, small_library.narrow, text="sea " * 5000), 422)
    assert "positions for" in said
    assert "less text" in said


def test_an_answer_that_would_be_too_large_is_refused(client, small_library, monkeypatch):
    monkeypatch.setattr("lmscope.server.live.answers.MAX_VALUES", 100)
    said = refused(probe(client, small_library.narrow), 422)
    assert "one answer holds 100" in said


def test_a_latent_that_is_not_there_is_refused(client, small_library):
    assert "no latent 64" in refused(probe(client, small_library.narrow, latents=[64]), 422)
    assert "no latent 64" in refused(steer(client, small_library.narrow, latents=[64]), 422)


def test_steering_shows_three_ways_and_what_changed_most(client, small_library):
    found = SteerAnswer.model_validate(steer(client, small_library.narrow, amount="60").json())
    assert [arm.name for arm in found.arms] == ["clean", "steered", "random"]
    assert all(len(arm.tokens) == len(arm.log_probs) <= 4 for arm in found.arms)
    assert found.changes == ["the activation of latent 3 is held at 60"]
    assert found.next_token_kl > 0
    assert all(one.edited > one.clean for one in found.raised)
    assert all(one.edited < one.clean for one in found.lowered)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "add", "amount": "-2.5"}, "\N{MINUS SIGN}2.5 to the activation of latent 3"),
        ({"kind": "add", "amount": "2.5"}, "+2.5 to the activation of latent 3"),
        ({"kind": "ablate"}, "latent 3 is taken away"),
    ],
)
def test_a_change_is_told_in_words(client, small_library, changes, said):
    assert steer(client, small_library.narrow, **changes).json()["changes"] == [said]


def test_the_command_of_a_steering_writes_the_same(client, small_library, capsys):
    prompt = '-- it\'s a "note"'
    answer = steer(client, small_library.narrow, kind="add", amount="-7.5", prompt=prompt, seed=3)
    found = answer.json()
    words = shlex.split(found["command"])
    assert words[:2] == ["lmscope", "steer"]
    assert main([*words[1:], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["prompts"][0]
    assert {arm["name"]: arm["text"] for arm in found["arms"]} == {
        name: arm["text"] for name, arm in shown["arms"].items()
    }
    assert found["next_token_kl"] == pytest.approx(shown["next_token_kl"])


def test_without_a_health_report_a_multiple_is_of_the_largest_activation_in_the_atlas(
    served, own_library
):
    shutil.rmtree(own_library.train / "artifacts" / "health")
    with Atlas.open(own_library.atlas, name="resid_post-1-64-topk-4") as atlas:
        latent, other = atlas.filter(order="-max", limit=2).latents
        largest = atlas[latent].record.max
    client = served(own_library.root)
    found = steer(client, own_library.narrow, latents=[latent], amount="2x").json()
    assert found["changes"] == [f"the activation of latent {latent} is held at {2 * largest:.4g}"]
    assert f"--clamp={2 * largest}"[:12] in found["command"]
    both = steer(client, own_library.narrow, latents=[latent, other], amount="2x").json()
    assert both["command"] == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": "much"}, "is no amount"),
        ({"latents": [3, 3]}, "changed twice"),
        ({"chat": True}, "no chat template"),
        ({"prompt": "sea " * 5000}, "positions for"),
    ],
)
def test_what_cannot_be_steered_is_refused_in_a_sentence(client, small_library, changes, message):
    assert message in refused(steer(client, small_library.narrow, **changes), 422)


def test_where_the_process_stands_can_be_asked(client):
    assert client.get("/api/live").json()["state"] == "ready"


def test_a_read_only_server_answers_too(served, small_library):
    client = served(small_library.root, read_only=True)
    assert probe(client, small_library.narrow).status_code == 200
