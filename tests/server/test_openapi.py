"""Requests made from the server's own OpenAPI, right ones and wrong ones, find no defect."""

import json
import shutil
from contextlib import contextmanager

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance
from starlette.testclient import TestClient

from lmscope.core.errors import DataError
from lmscope.server.app import create_app, describe
from lmscope.server.live.client import LiveModel
from lmscope.server.settings import ServeSettings

SCHEMA = schemathesis.openapi.from_dict(describe())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
STARTS_THE_MODEL = ("/map", "/api/compare", "/live/probe", "/live/steer")
"""With real ids these start a process; here they meet only ids that are not served."""


class NoModel(LiveModel):
    """Answers nothing, so that no request of these loads a model."""

    async def ask(self, kind, payload):
        raise DataError(f"There is no model to '{kind}' here.")


@contextmanager
def served(folder):
    settings = ServeSettings(folders=(folder,))
    app = create_app(settings)
    app.state.context.live = NoModel(settings)
    headers = {"X-Lmscope": "1"}
    with TestClient(app, base_url="http://127.0.0.1:8710", headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def traces(traced_library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi") / "runs"
    return traced_library.at(shutil.copytree(traced_library.root, folder))


@pytest.fixture(scope="module")
def library(traces):
    return traces.small


@pytest.fixture(scope="module")
def client(library):
    with served(library.root) as client:
        yield client


def real_parameters(operation, traces):
    """Path parameters that something is served at, for those addresses that have one."""
    library = traces.small
    known = {
        "dictionary": [library.narrow, library.wide, library.hostile_id, library.packed_id],
        "run": [library.train.name, library.atlas.name, library.explained.name],
        "model": ["miniature"],
        "latent": [0, 3, 63, 64],
    }
    if "/graphs/" in operation.path:
        known |= {"run": [traces.layers], "name": [traces.layered, "x"], "view": ["mine", "a b"]}
    names = [parameter.name for parameter in operation.path_parameters]
    if not names or not set(names) <= known.keys() or operation.path.endswith(STARTS_THE_MODEL):
        return st.none()
    return st.fixed_dictionaries({name: st.sampled_from(known[name]) for name in names})


def cases(operation, traces):
    """Requests that fit the description, and requests that break it in some place."""
    ways = [GenerationMode.POSITIVE]
    if operation.query or operation.path_parameters or list(operation.body):
        ways.append(GenerationMode.NEGATIVE)

    def of(given_):
        parameters, mode = given_
        fixed = {} if parameters is None else {"path_parameters": parameters}
        return operation.as_strategy(generation_mode=mode, **fixed)

    return st.tuples(real_parameters(operation, traces), st.sampled_from(ways)).flatmap(of)


@pytest.mark.parametrize("n", [12, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_no_request_that_the_description_leads_to_finds_a_defect(operation, n, client, traces):
    @settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(operation, traces))
    def ask(case):
        asked = case.as_transport_kwargs(base_url="http://127.0.0.1:8710")
        asked["headers"] = {**asked["headers"], "X-Lmscope": "1"}
        asked.pop("cookies", None)
        if "data" in asked:
            asked["content"] = asked.pop("data")
        answer = client.request(**asked)
        if answer.status_code >= 400:
            assert answer.json()["error"].keys() == {"code", "message", "hint"}
        # The description has a type for the data of an event, but no word for the events around it.
        is_stream = operation.path.endswith("/stream")
        checks = [not_a_server_error] + [response_schema_conformance] * (not is_stream)
        case.validate_response(answer, checks=checks)

    ask()


def test_the_description_says_that_every_refusal_is_an_envelope():
    for operation in OPERATIONS:
        assert "4XX" in operation.definition.raw["responses"]


def test_the_description_is_served(client):
    assert client.get("/api/openapi.json").json() == json.loads(json.dumps(describe()))
