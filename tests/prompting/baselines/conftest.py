"""Material of miniatures."""

from collections.abc import Callable
from typing import Any

import pytest

from lmscope.models.miniature import miniature
from lmscope.prompting.baselines.arms import Material
from lmscope.prompting.baselines.config import BaselineConfig
from lmscope.prompting.baselines.gradient import Goal
from lmscope.text.tasks.choices.rendering import Special


@pytest.fixture
def material(random_rows) -> Callable[..., Material]:
    """Random examples of a miniature; their rows begin with token 5 and in encoders end with token 7."""

    def make(family: str = "llama", place: str = "ahead", **changes: Any) -> Material:
        model = miniature(family)
        special = Special(5) if model.is_causal else Special(5, 7, 6)
        values = {
            "model": model,
            "goal": Goal(
                random_rows(model, place, seed=1),
                random_rows(model, place, seed=2),
                metric="accuracy",
            ),
            "test": random_rows(model, place, n=5, seed=3),
            "empty": random_rows(model, place, n=2, seed=4),
            "special": special,
            "separator": (9, 9),
            "n_calls": 12,
            "seed": 0,
            "config": BaselineConfig.from_mapping(
                {"gradient": {"every_steps": 1}, "fine_tuning": {"every_steps": 1}}
            ),
        }
        return Material(**(values | changes))

    return make
