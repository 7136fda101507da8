"""What every test shares: one thread, and generated examples without a clock."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

# Triton reads this once, when it is first imported, and torch imports it on its way.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile(
    "lmscope", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("lmscope")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Sums have one order: results are comparable bit for bit, and parallel tests share cores."""
    torch.set_num_threads(1)


@pytest.fixture
def deterministic():
    """Within the test, torch refuses operations whose result may differ between calls."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
