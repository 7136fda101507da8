"""`lmscope steer` as a person calls it, on a run of the miniature model."""

import json
from dataclasses import replace

import pytest

from lmscope.cli.main import main
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.jobs.bench import Bench, find_subject, open_bench
from lmscope.jobs.running import Silent
from lmscope.jobs.steer import SteerChoice, chosen_changes, steer
from lmscope.models.generate import GenerationOptions

NAME = "resid_post-1-64-topk-4"


@pytest.fixture(scope="module")
def bench(trained) -> Bench:
    return open_bench(find_subject(trained.path), Silent(), calibration_tokens=512)


def choice(**changes) -> SteerChoice:
    values = {
        "latents": [3],
        "amount": "5",
        "prompts": ["note a", "the tide"],
        "generation": {"n_tokens": 6, "stop_at_end": False},
    }
    return SteerChoice.from_mapping(values | changes)


def steer_words(trained, *words: str) -> list[str]:
    usual = {"--prompt": "note a", "--calibration-tokens": "256", "--tokens": "5"}
    options = [word for name, value in usual.items() if name not in words for word in (name, value)]
    return ["steer", str(trained.path), *options, *words]


def test_a_bench_holds_the_dictionary_on_its_model(bench, trained) -> None:
    assert bench.name == NAME
    assert bench.model.weights_hash == bench.dictionary.config.model_hash
    assert list(bench.exclusion.median_norm) == [bench.dictionary.config.read_site]
    saved = LatentStatistics.load(trained.artifacts / "health" / NAME / "latents.safetensors")
    assert bench.max_activation is not None
    assert bench.max_activation.tolist() == saved.max_activation.tolist()


def test_without_calibration_no_text_is_read(trained) -> None:
    subject = find_subject(trained.artifacts / "dictionaries" / NAME)
    found = open_bench(subject, Silent(), calibration_tokens=0)
    assert found.exclusion.median_norm == {}
    assert found.max_activation is None


def test_a_strength_of_zero_writes_what_the_unedited_model_writes(bench) -> None:
    result = steer(bench, choice(kind="add", amount="0", compare=True))
    for one in result.prompts:
        assert one.arms["steered"] == one.arms["clean"] == one.arms["random"]
        assert one.effect.kl == 0


def test_each_prompt_has_its_arms_and_its_effect(bench) -> None:
    result = steer(bench, choice(amount="60", compare=True))
    assert [one.prompt for one in result.prompts] == ["note a", "the tide"]
    for one in result.prompts:
        assert set(one.arms) == {"clean", "steered", "random"}
        assert all(len(found.tokens) == 6 for found in one.arms.values())
        assert one.effect.kl > 0
        assert len(one.raised) == len(one.lowered) == 5
    arms = [one.arms for one in result.prompts]
    assert any(a["steered"].tokens != a["clean"].tokens for a in arms)
    assert any(a["steered"].tokens != a["random"].tokens for a in arms)
    assert set(steer(bench, choice()).prompts[0].arms) == {"steered"}


def test_an_amount_with_x_is_a_multiple_of_the_largest_activation(bench) -> None:
    assert bench.max_activation is not None
    latents = bench.max_activation.argsort(descending=True)[:2].tolist()
    changes = chosen_changes(bench.subject, choice(latents=latents, amount="2x"))
    wanted = [2 * float(bench.max_activation[latent]) for latent in latents]
    assert [change.value for change in changes] == pytest.approx(wanted)
    assert [change.value for change in chosen_changes(bench.subject, choice(amount=" -3.5 "))] == [
        -3.5
    ]


@pytest.mark.parametrize("amount", ["much", "x", "2xx", ""])
def test_what_is_no_amount_is_refused(bench, amount) -> None:
    with pytest.raises(RecipeError, match="is no amount: give a number"):
        chosen_changes(bench.subject, choice(amount=amount))


def test_a_multiple_needs_a_measured_activation(bench, trained) -> None:
    unmeasured = find_subject(trained.artifacts / "dictionaries" / NAME)
    with pytest.raises(RecipeError, match="was not measured"):
        chosen_changes(unmeasured, choice(amount="2x"))
    silenced = replace(bench.subject, max_activation=bench.max_activation * 0)
    with pytest.raises(RecipeError, match="Latent 3 never fired"):
        chosen_changes(silenced, choice(amount="2x"))


def test_several_dictionaries_need_a_name(recipe, tmp_path) -> None:
    from lmscope.jobs.train import train

    run = train(
        recipe(
            **{
                "dictionary.n_latents": [64, 80],
                "training.steps": 2,
                "evaluation.tokens": 0,
            }
        ),
        root=tmp_path,
    )
    with pytest.raises(ArtifactError, match=r"2 dictionaries .* --dictionary"):
        find_subject(run.path)
    with pytest.raises(ArtifactError, match=f"Did you mean {NAME}"):
        find_subject(run.path, name=NAME.replace("64", "65"))
    assert find_subject(run.path, name=NAME).name == NAME


def test_the_command_prints_what_was_written(trained, capsys) -> None:
    words = ["--latent", "3", "--clamp", "60", "--compare"]
    assert main(steer_words(trained, *words)) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{NAME} on ")
    assert "clamp 3 60" in shown
    for word in ("prompt", "unedited", "steered", "random direction", "rises", "falls"):
        assert word in shown


def test_the_command_prints_json_alone(trained, capsys) -> None:
    words = ["--latent", "3", "--latent", "9", "--add", "-7.5", "--json"]
    assert main(steer_words(trained, *words)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changes"] == [
        {"latent": latent, "kind": "add", "value": -7.5} for latent in (3, 9)
    ]
    assert len(found["prompts"][0]["arms"]["steered"]["tokens"]) <= 5
    assert {"token", "clean", "edited", "log_ratio", "text"} == set(
        found["prompts"][0]["raised"][0]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latent", "3"], "--clamp AMOUNT, --add AMOUNT or --ablate; none was given"),
        (["--latent", "3", "--clamp", "1", "--ablate"], "--clamp and --ablate was given"),
        (["--clamp", "1"], "name a latent, e.g. --latent 17"),
        (["--latent", "64", "--clamp", "1"], "no latent 64: the dictionary has 64"),
        (["--latent", "3", "--latent", "3", "--ablate"], "Latent 3 is changed twice"),
        (["--latent", "3", "--ablate", "--chat"], "has no chat template"),
        (["--latent", "3", "--ablate", "--tokens", "0"], "n_tokens"),
        (["--latent", "3", "--ablate", "--calibration-tokens", "-1"], "0 or more"),
    ],
)
def test_wrong_words_end_in_one_sentence(trained, capsys, words, message) -> None:
    assert main(steer_words(trained, *words)) != 0
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_options_have_the_generation_they_say() -> None:
    assert choice().generation == GenerationOptions(n_tokens=6, stop_at_end=False)


def test_a_latent_that_does_not_exist_is_told_before_the_model_is_loaded(
    trained, capsys, monkeypatch
) -> None:
    def load(*_words, **_options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("lmscope.jobs.bench.load_model", load)
    assert main(steer_words(trained, "--latent", "64", "--clamp", "1")) != 0
    assert "no latent 64" in capsys.readouterr().err
