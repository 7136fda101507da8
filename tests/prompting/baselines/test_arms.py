"""Every baseline scores all test examples and looks at none of their labels."""

from dataclasses import replace

import pytest
import torch

from lmscope.jobs.running import Silent
from lmscope.prompting.baselines.arms import run_baseline
from lmscope.prompting.baselines.config import BASELINES, BaselineConfig
from lmscope.prompting.baselines.gradient import steps_for
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import ModelScorer


@pytest.mark.parametrize(("family", "place"), [("llama", "behind"), ("bert", "between")])
@pytest.mark.parametrize("name", BASELINES)
def test_labels_of_test_examples_change_nothing(name, family, place, material) -> None:
    given = material(family, place)
    other = tuple(replace(row, label=(row.label + 1) % 3) for row in given.test.rows)
    found, again = (
        run_baseline(name, replace(given, test=test), Silent())
        for test in (given.test, replace(given.test, rows=other))
    )
    assert found.scores.shape == (5, 3)
    assert torch.isfinite(found.scores).all()
    assert torch.equal(found.scores, again.scores)
    assert found.chosen == again.chosen
    assert found.test_flops > 0


@pytest.mark.parametrize(
    "name", [name for name in BASELINES if name not in ("manual", "contextual")]
)
def test_labels_of_training_examples_matter(name, material) -> None:
    given = material("llama", "ahead", n_calls=30)
    rows = given.goal.train.rows
    other = tuple(replace(row, label=(row.label + 1) % 2) for row in rows[:-1])
    other = (*other, replace(rows[-1], label=2))
    if name.startswith(("gradient", "fine")):  # chosen by examples that like what was trained on
        given = replace(given, goal=replace(given.goal, dev=given.goal.train))
    changed = replace(given.goal.train, rows=other)
    goal = replace(given.goal, train=changed)
    if name.startswith(("gradient", "fine")):
        goal = replace(goal, dev=changed)
    found = run_baseline(name, given, Silent()).scores
    assert not torch.allclose(
        found, run_baseline(name, replace(given, goal=goal), Silent()).scores, atol=1e-5
    )


def test_the_manual_arm_is_the_manual_prompt(material) -> None:
    given = material("llama", "behind")
    wanted = ModelScorer(given.model, given.test).scores(Prompts({}))[0]
    found = run_baseline("manual", given, Silent())
    assert torch.allclose(found.scores, wanted, atol=1e-4)
    assert (found.n_calls, found.n_dev_calls, found.flops) == (0, 0, 0.0)


def test_what_an_arm_costs_is_said(material) -> None:
    given = material("llama", "ahead", n_calls=20)
    costs = {name: run_baseline(name, given, Silent()) for name in BASELINES}
    assert {name: one.n_calls for name, one in costs.items()} == {
        "manual": 0,
        "label_bias": 1,
        "contextual": 0,
        "prototype": 1,
        "in_context": 0,
        "gradient": 3 * steps_for(20),
        "gradient_deep": 3 * steps_for(20),
        "fine_tuning": 3 * steps_for(20),
    }
    assert costs["in_context"].test_flops > 1.5 * costs["manual"].test_flops
    assert costs["gradient"].n_dev_calls == 1 + steps_for(20)
    assert costs["prototype"].flops > costs["label_bias"].flops > 0


def test_fewer_demonstrations_are_the_first_of_more(material) -> None:
    limits = [{"n_demonstrations": 1}, {"n_demonstrations": 2}, {"max_tokens": 30}]
    shown = []
    for limit in limits:
        config = BaselineConfig.from_mapping({"in_context": limit})
        shown.append(run_baseline("in_context", material(config=config), Silent()).chosen)
    assert [one["mean_demonstrations"] for one in shown[:2]] == [1.0, 2.0]
    assert shown[2]["fewest_demonstrations"] <= shown[2]["mean_demonstrations"] < 3
