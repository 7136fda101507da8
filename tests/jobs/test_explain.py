"""`explain` from a small atlas: labels with scores, stopped and resumed, with a language model, wrong input."""

import json
import signal

import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.explain.evidence import evidence
from lmscope.atlas.explain.protocols import NOT_KNOWN
from lmscope.atlas.explain.rule_judge import RuleJudge
from lmscope.atlas.explain.scorers import Detection
from lmscope.atlas.finding import find_corpus, locate
from lmscope.atlas.labels import LabelReader
from lmscope.atlas.pack import pack
from lmscope.atlas.store import CensusReader
from lmscope.core.errors import ArtifactError, BudgetError, RecipeError
from lmscope.jobs import explain as job
from lmscope.jobs.atlas import AtlasRecipe, build_atlas
from lmscope.jobs.explain import ExplainRecipe, explain, plan_explanation, read_report
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.run import Run

NAME = "resid_post-1-64-topk-4"


@pytest.fixture(scope="session")
def built(trained, tmp_path_factory) -> Run:
    """A run with the atlas of one dictionary of 64 latents."""
    values = {
        "dictionary": str(trained.path),
        "census": {"tokens": 6000, "batch_tokens": 256, "calibration_tokens": 512},
        "options": {"n_top": 8, "n_each": 3, "stretch": 8, "n_silent": 16},
    }
    return build_atlas(AtlasRecipe.from_mapping(values), root=tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def explain_recipe(built):
    def explain_recipe(**changes) -> ExplainRecipe:
        values = {"atlas": str(built.path), "n_controls": 10, **changes}
        return ExplainRecipe.from_mapping(values)

    return explain_recipe


@pytest.fixture(scope="session")
def few(explain_recipe) -> ExplainRecipe:
    """12 of the latents."""
    return explain_recipe(threshold=0.5, latents=list(range(12)))


@pytest.fixture(scope="session")
def explained(few, built) -> Run:
    """Their labels, made without a stop; in the same root folder, so that the atlas finds them."""
    return explain(few, root=built.path.parent)


@pytest.fixture
def labels(explained):
    with LabelReader(explained.artifacts / "labels" / NAME / "labels.sqlite") as reader:
        yield reader


def test_every_latent_has_a_label_or_nothing_and_what_is_shown_passed_the_threshold(labels):
    assert len(labels) == 12
    assert (labels.meta.explainer, labels.meta.judge) == ("statistics", "rule")
    said = [label for label in labels.labels() if label.text]
    assert said
    assert len(labels.known()) < len(said)
    for label in labels.labels():
        scores = {score.scorer: score for score in labels.scores(label.latent)}
        assert bool(scores) <= bool(label.text)
        passed = "detection" in scores and scores["detection"].low >= 0.5
        assert (labels.shown(label.latent) != NOT_KNOWN) == passed


def test_scores_are_those_of_the_held_out_side(labels, built):
    place = locate(built.path)
    with CensusReader(place.path / "census.sqlite") as reader:
        corpus = find_corpus(place, reader.meta.corpus_digest, None)
        latent = min(label.latent for label in labels.labels() if label.text)
        held_out = evidence(reader.record(latent), corpus, "held_out", stretch=8)
    score = Detection().score(labels.label(latent), held_out, RuleJudge())
    assert score in labels.scores(latent)


def test_the_report_sums_the_labels_up(explained, labels):
    report = read_report(explained.artifacts / "labels" / NAME)
    read_manifest(explained.artifacts / "labels" / NAME, "labels", [1], verify=True)
    alive = report.n_latents - report.n_dead
    assert report.n_said == sum(bool(label.text) for label in labels.labels())
    assert report.not_known.value == pytest.approx(1 - len(labels.known()) / alive)
    assert report.not_known.n == alive
    values = [s.value for n in range(12) for s in labels.scores(n) if s.scorer == "detection"]
    assert report.scores["detection"].value == pytest.approx(sum(values) / len(values))
    assert set(report.scores) == {"detection", "fuzzing", "intruder", "simulation"}
    assert set(report.controls) <= {"shuffled", "neighbour"}
    shuffled = report.controls["shuffled"]
    assert shuffled.wrong.value < shuffled.true.value
    rows = [row[0] for row in report.table(NAME).rows]
    assert rows[:4] == ["detection", "fuzzing", "intruder", "simulation"]
    assert "detection, shuffled labels" in rows


def test_the_atlas_shows_the_labels(explained, built, labels):
    with Atlas.open(built.path) as atlas:
        latent = min(labels.known())
        assert atlas.feature(latent).label == labels.shown(latent)


class StopAfter:
    """Sends this process SIGTERM once so many latents are labelled."""

    def __init__(self, n: int) -> None:
        self.n = n

    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        pass

    def on_progress(self, phase, done, total, fields):
        if phase == "explain" and done >= self.n:
            self.n = 10**9
            signal.raise_signal(signal.SIGTERM)


def test_stopped_and_resumed_it_gives_equal_bytes(few, explained, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "BLOCK_LATENTS", 5)
    with pytest.raises(KeyboardInterrupt):
        explain(few, root=tmp_path, listeners=[StopAfter(5)])
    (folder,) = tmp_path.iterdir()
    assert not (folder / "artifacts" / "labels").exists()
    run = explain(few, root=tmp_path, resume=folder)
    for file in ("labels.sqlite", "report.json"):
        path = f"artifacts/labels/{NAME}/{file}"
        assert (run.path / path).read_bytes() == (explained.path / path).read_bytes()
    assert not (run.path / "labels").exists()


def test_some_latents_only(explain_recipe, tmp_path):
    run = explain(explain_recipe(latents=[5, 3, 5], scorers=["detection"]), root=tmp_path)
    with LabelReader(run.artifacts / "labels" / NAME / "labels.sqlite") as reader:
        assert [label.latent for label in reader.labels()] == [3, 5]
    plan = plan_explanation(explain_recipe(n_latents=10))
    assert plan.values[f"latents of {NAME}"] == 10
    assert plan.values["judge"] == "rule"


def answer(body) -> str:
    """A language model that says one label, and half of whatever it is asked for."""
    system = body["messages"][0]["content"]
    rows = [json.loads(line) for line in body["messages"][1]["content"].split("\n")]
    if "observations" in str(body.get("response_format")):
        return json.dumps({"observations": "", "label": "letters"})
    assert system
    numbers = [row["number"] for row in rows if "number" in row]
    return json.dumps({"verdicts": [{"number": n, "percent": 40 + 20 * (n % 2)} for n in numbers]})


def with_llm(server, **changes):
    endpoint = {"base_url": server.url, "model": "tiny", **changes}
    return {
        "explainer": "llm",
        "endpoint": endpoint,
        "scorers": ["detection", "fuzzing"],
        "n_controls": 0,
    }


def test_a_language_model_explains_and_judges(explain_recipe, chat_server, tmp_path):
    chat_server.answer = answer
    run = explain(explain_recipe(n_latents=4, **with_llm(chat_server)), root=tmp_path)
    with LabelReader(run.artifacts / "labels" / NAME / "labels.sqlite") as reader:
        assert (reader.meta.explainer, reader.meta.judge) == ("llm:tiny", "llm:tiny")
        assert {label.text for label in reader.labels()} <= {"letters", ""}
        assert any(reader.scores(label.latent) for label in reader.labels())


def test_what_a_language_model_answered_is_not_asked_again(explain_recipe, chat_server, tmp_path):
    chat_server.answer = answer
    recipe = explain_recipe(latents=[3], **with_llm(chat_server, caps={"n_calls": 2}))
    with pytest.raises(BudgetError):
        explain(recipe, root=tmp_path)
    (folder,) = tmp_path.iterdir()
    with pytest.raises(BudgetError):
        explain(recipe, root=tmp_path, resume=folder)
    assert len(chat_server.requests) == 2


def test_an_unusable_answer_costs_one_label_only(explain_recipe, chat_server, tmp_path):
    chat_server.answer = lambda body: "no JSON at all"
    recipe = explain_recipe(latents=[3], **with_llm(chat_server))
    run = explain(recipe, root=tmp_path)
    with LabelReader(run.artifacts / "labels" / NAME / "labels.sqlite") as reader:
        assert reader.label(3).text == ""
    (event,) = [event for event in run.events() if event["event"] == "unusable_answers"]
    assert event["latents"] == [3]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"atlas": "nowhere"}, ArtifactError, "There is no atlas at 'nowhere'"),
        ({"only": ["resid_post-1-64-topk-5"]}, RecipeError, f"Did you mean {NAME}?"),
        ({"latents": [64]}, RecipeError, "There is no latent 64"),
        ({"latents": [1], "n_latents": 1}, RecipeError, "leave one out"),
        ({"scorers": ["fuzzing"]}, RecipeError, "lack 'detection'"),
        ({"explainer": "llm"}, RecipeError, "'llm' asks a language model"),
        ({"judge": "llm"}, RecipeError, "'llm' asks a language model"),
        ({"scorers": ["detection", "complexity"]}, RecipeError, "'complexity' asks a language"),
        ({"explainer": "llm", "judge": "rule"}, RecipeError, "follows rules"),
        (
            {"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}},
            RecipeError,
            "An endpoint is given that nothing asks",
        ),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_no_run(
    changes, error, said, explain_recipe, tmp_path
):
    with pytest.raises(error) as caught:
        explain(explain_recipe(**changes), root=tmp_path)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_packed_atlas_lacks_the_text(explain_recipe, built, tmp_path):
    with Atlas.open(built.path) as atlas:
        pack(atlas, tmp_path / "one.atlas")
    with pytest.raises(RecipeError, match="only the text of its examples"):
        explain(explain_recipe(atlas=str(tmp_path / "one.atlas")), root=tmp_path / "runs")


def test_labels_without_a_report_are_told(tmp_path):
    with write_artifact(tmp_path / "labels", "labels", 1) as folder:
        (folder / "labels.sqlite").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"report.json' is damaged: .* Explain the atlas anew"):
        read_report(tmp_path / "labels")
