"""The wheel, installed where there is no Node and no checkout, serves the web app."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
MAX_WHEEL_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*map(str, command), str(ROOT)], check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel, which finds everything else where these tests do."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    place = ["--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *place, str(wheel)], check=True)
    # A plain path in a .pth file: the editable install that lies there is not followed.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_is_small_and_holds_the_whole_bundle(wheel):
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    static = ROOT / "src" / "lmscope" / "server" / "static"
    built = {
        path.relative_to(ROOT / "src").as_posix() for path in static.rglob("*") if path.is_file()
    }
    with zipfile.ZipFile(wheel) as opened:
        packed = set(opened.namelist())
    assert built
    assert built <= packed
    assert not [name for name in packed if "node_modules" in name or name.startswith("web/")]


@pytest.fixture
def started(installed, tmp_path) -> dict:
    """How a program of that environment is started: nothing of this one is in its way."""
    environment = {
        "PATH": str(installed),
        "HOME": str(tmp_path),
        "LMSCOPE_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    return {"cwd": tmp_path, "env": environment, "text": True}


def test_the_installed_wheel_traces_the_model_that_it_brings(installed, started):
    command = [installed / "lmscope", "trace", "The king and the queen went to the", "--json"]
    done = subprocess.run(command, capture_output=True, check=True, **started)
    found = json.loads(done.stdout)
    assert (found["model"], found["missing"]) == ("garden", [])
    (row,) = found["traces"]
    assert abs(row["ledger"]["residual"]) <= row["ledger"]["tolerance"]
    assert [node for node in row["nodes"] if node["kind"] == "feature"]


def test_the_installed_wheel_serves_the_app_without_node(installed, started, tmp_path):
    (tmp_path / "runs").mkdir()
    where = subprocess.run(
        [installed / "python", "-c", "import lmscope; print(lmscope.__file__)"],
        capture_output=True,
        check=True,
        **started,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    command = [installed / "lmscope", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, **started) as server:
        try:
            url = json.loads(server.stdout.readline())["url"]
            with urlopen(url) as answer:
                page = answer.read().decode()
            addresses = re.findall(r'(?:src|href)="/([^"]+)"', page)
            assert [one for one in addresses if one.endswith(".js")]
            for address in addresses:
                with urlopen(url + address) as answer:
                    assert answer.status == 200
                    assert len(answer.read()) > 100
            with urlopen(url + "api/home") as answer:
                runs = {run["id"] for run in json.load(answer)["runs"]}
            assert runs == {"garden", "othello-mini", "othello-mini-player"}
        finally:
            server.terminate()
    assert server.returncode == 0
