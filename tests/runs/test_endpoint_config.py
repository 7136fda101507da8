import pytest

from lmscope.core.errors import RecipeError
from lmscope.runs.endpoint_config import EndpointConfig

LOCAL = {"base_url": "http://localhost:8000/v1", "model": "m"}


def test_an_address_is_taken_with_or_without_its_end():
    for end in ("", "/", "/chat/completions"):
        config = EndpointConfig.from_mapping(
            {**LOCAL, "base_url": f"http://localhost:8000/v1{end}"}
        )
        assert config.base_url == "http://localhost:8000/v1"
        assert config.is_loopback


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"base_url": "localhost:8000"}, "it must begin with http:// or https://"),
        ({"base_url": "file:///etc/passwd"}, "it must begin with http:// or https://"),
        ({"base_url": "https://me:secret@host/v1"}, "name the key's variable in key_env"),
        ({"base_url": "https://host/v1?key=secret"}, "name the key's variable in key_env"),
        (
            {"base_url": "http://host/v1", "key_env": "K"},
            "the key would travel unencrypted to 'host'",
        ),
        ({"caps": {"cost": 1.0}}, "caps.cost needs prices.prompt and prices.answer"),
        ({"options": {"messages": []}}, "messages cannot be set here"),
        ({"options": {"max_tokens": 3}}, "max_tokens cannot be set here"),
        ({"modle": "m"}, "'modle' is not an option of the recipe. Did you mean model?"),
        (
            {"caps": {"n_cals": 3}},
            "'caps.n_cals' is not an option of the recipe. Did you mean n_calls?",
        ),
    ],
)
def test_what_contradicts_is_refused(values, sentence):
    with pytest.raises(RecipeError, match=sentence):
        EndpointConfig.from_mapping({**LOCAL, **values})


def test_a_key_may_travel_where_nobody_listens_or_where_that_is_allowed():
    for values in (
        {"base_url": "https://host/v1"},
        {"base_url": "http://127.0.0.1:1/v1"},
        {"base_url": "http://[::1]:1/v1"},
        {"base_url": "http://host/v1", "plain_http": True},
    ):
        assert EndpointConfig.from_mapping({"model": "m", "key_env": "K", **values}).key_env == "K"


def test_a_config_survives_toml_and_its_digest_is_that_of_its_values():
    values = {**LOCAL, "prices": {"prompt": 1.0, "answer": 2.0}, "caps": {"cost": 3.0}}
    config = EndpointConfig.from_mapping(values)
    assert EndpointConfig.from_mapping(config.to_mapping()) == config
    assert config.digest() != EndpointConfig.from_mapping(LOCAL).digest()
