import socket
import ssl
import time
from http.client import HTTPException
from io import BytesIO

import pytest

from lmscope.runs.chat import Chat, EndpointError, Failure, Reply, _read_within
from lmscope.runs.endpoint_config import EndpointConfig


def chat(url: str, **options) -> Chat:
    config = EndpointConfig.from_mapping({"base_url": url, "model": "tiny", **options})
    return Chat(config, key="sk-secret", wait=pytest.fail)


def test_a_reply_has_what_the_server_says_of_it(chat_server):
    chat_server.usage = {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}
    chat_server.next.append(chat_server.completion("blue", "length"))
    found = chat(chat_server.url).once({"model": "tiny"})
    # No answer has no tokens: a server that says 0 does not count.
    assert found == Reply("blue", "", "length", 7, None)


def test_a_name_that_is_not_known_may_be_tried_again():
    unknown = socket.gaierror(-2, "Name or service not known")
    found = chat("https://host/v1")._unsent(unknown)
    assert found == Failure("its name is not known: Name or service not known")


def test_a_certificate_that_is_not_trusted_ends_the_work():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    with pytest.raises(EndpointError, match="not trusted here: self-signed certificate"):
        chat("https://host/v1")._unsent(error)


def test_https_to_a_server_without_it_is_said(chat_server):
    found = chat(chat_server.url.replace("http:", "https:")).once({})
    assert isinstance(found, Failure)
    assert "SSL" in found.reason
    assert not found.is_lost


def test_an_answer_without_end_is_cut_by_size_and_by_time():
    with pytest.raises(HTTPException, match="more than 16 MiB"):
        _read_within(BytesIO(bytes(17 * 2**20)), time.monotonic() + 60)
    with pytest.raises(TimeoutError):
        _read_within(BytesIO(b"slow"), time.monotonic() - 1)
    assert _read_within(BytesIO(b"slow"), time.monotonic() + 60) == b"slow"
