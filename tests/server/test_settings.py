import pytest

from lmscope.core.errors import RecipeError
from lmscope.server.settings import ServeSettings


def test_a_server_is_reachable_from_this_machine_only_unless_told_otherwise():
    settings = ServeSettings()
    assert settings.host is None
    assert [str(folder) for folder in settings.folders] == ["runs"]


@pytest.mark.parametrize(
    "token", ["short", "fifteen-letters", "spaces in a long token", "ümlaute-ümlaute-"]
)
def test_tokens_are_long_and_go_through_a_header_unharmed(token):
    with pytest.raises(RecipeError):
        ServeSettings.from_mapping({"token": token})
    with pytest.raises(RecipeError):
        ServeSettings.from_mapping({"write_token": token})


def test_a_token_of_sixteen_signs_is_taken():
    assert ServeSettings.from_mapping({"token": "a" * 16}).token == "a" * 16


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_beyond_the_range_are_refused(port):
    with pytest.raises(RecipeError, match="port"):
        ServeSettings.from_mapping({"port": port})
