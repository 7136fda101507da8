import json
import math

import numpy as np
import pytest
from starlette.requests import Request

from lmscope.server.responses import Json, sealed, to_bytes
from lmscope.server.schemas.common import Estimate, Histogram

NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), np.array([math.nan, 1.0])]


def asked(**headers):
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": given})


@pytest.mark.parametrize("value", NOT_FINITE)
def test_numbers_that_are_not_finite_become_null(value):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(to_bytes({"value": value}), parse_constant=refuse)["value"]
    assert found in (None, [None, 1.0])


def test_schema_objects_hold_null_for_what_is_not_finite():
    body = json.loads(Json(Estimate(value=math.nan, low=math.inf)).body)
    assert body == {"value": None, "low": None, "high": None, "n": None}
    (edge, _) = json.loads(to_bytes([Histogram(edges=[math.inf], counts=[]), 1]))
    assert edge["edges"] == [None]


def test_what_has_no_json_is_a_defect():
    with pytest.raises(TypeError):
        to_bytes(object())


def test_an_unchanged_page_costs_nothing():
    first = sealed(asked(), {"a": 1})
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    tag = first.headers["etag"]
    again = sealed(asked(if_none_match=tag), {"a": 1})
    assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", tag)
    assert sealed(asked(if_none_match=tag), {"a": 2}).status_code == 200
    assert sealed(asked(if_none_match=f'"x", {tag}'), {"a": 1}).status_code == 304
