import os
import subprocess
import sys

import pytest

from lmscope.core.errors import RecipeError
from lmscope.dictionaries.kernels.choice import VARIABLE, use_triton


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr("lmscope.dictionaries.kernels.choice.find_spec", lambda _: object())


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_by_default_torch_computes_on_every_device(monkeypatch, device):
    assert not use_triton(device)
    monkeypatch.setenv(VARIABLE, "auto")
    assert not use_triton(device)


@pytest.mark.usefixtures("installed")
def test_the_argument_goes_before_the_variable(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    assert use_triton("cuda")
    assert not use_triton("cuda", asked=False)
    monkeypatch.setenv(VARIABLE, "0")
    assert not use_triton("cuda")
    assert use_triton("cuda", asked=True)


@pytest.mark.usefixtures("installed")
def test_a_cpu_runs_them_only_in_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RecipeError, match=r"need a CUDA device and the tensors are on 'cpu'"):
        use_triton("cpu", asked=True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert use_triton("cpu", asked=True)


def test_asking_for_them_without_triton_says_what_to_install(monkeypatch):
    monkeypatch.setattr("lmscope.dictionaries.kernels.choice.find_spec", lambda _: None)
    assert not use_triton("cuda")
    with pytest.raises(RecipeError, match="`pip install triton`, or unset LMSCOPE_TRITON"):
        use_triton("cuda", asked=True)


def test_another_value_of_the_variable_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(RecipeError, match="LMSCOPE_TRITON is 'yes'; set it to 1, 0 or auto"):
        use_triton("cpu")


def test_the_modules_import_without_triton():
    """A finder that hides triton stands for a machine where it is not installed."""
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import lmscope.dictionaries.kernels.bags, lmscope.dictionaries.kernels.choice"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
