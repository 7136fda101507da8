import socket
from contextlib import closing

import pytest

from lmscope.server.addresses import (
    AddressError,
    HostNames,
    listen,
    port_of,
    refuse_open_doors,
    url,
)
from lmscope.server.settings import ServeSettings

TOKEN = "t" * 16


def close(sockets):
    for one in sockets:
        one.close()


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_loopback_needs_no_token(host):
    refuse_open_doors(ServeSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_needs_a_token(host):
    with pytest.raises(AddressError, match="LMSCOPE_TOKEN"):
        refuse_open_doors(ServeSettings(host=host))
    with pytest.raises(AddressError, match="LMSCOPE_TOKEN"):
        refuse_open_doors(ServeSettings(host=host, write_token=TOKEN))
    refuse_open_doors(ServeSettings(host=host, token=TOKEN))


def test_the_default_listens_at_loopback_only_and_at_one_port():
    sockets = listen(ServeSettings(port=0), port_is_fixed=False)
    try:
        assert {one.getsockname()[0] for one in sockets} <= {"127.0.0.1", "::1"}
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        assert {one.getsockname()[1] for one in sockets} == {port_of(sockets)}
    finally:
        close(sockets)


def test_a_taken_port_gives_way_to_the_next_free_one_unless_it_was_asked_for():
    first = listen(ServeSettings(port=0), port_is_fixed=False)
    taken = ServeSettings(port=port_of(first))
    try:
        with pytest.raises(AddressError, match=f"Port {taken.port} is taken"):
            listen(taken, port_is_fixed=True)
        second = listen(taken, port_is_fixed=False)
        assert port_of(second) > taken.port
        close(second)
    finally:
        close(first)


def test_a_port_that_is_taken_on_one_of_both_loopbacks_is_taken():
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressError, match="taken"):
            listen(ServeSettings(port=port), port_is_fixed=True)


def test_an_address_of_another_machine_is_one_sentence():
    with pytest.raises(AddressError, match=r"cannot listen at '192\.0\.2\.1'"):
        listen(ServeSettings(host="192.0.2.1", token=TOKEN), port_is_fixed=True)
    with pytest.raises(AddressError, match="no address"):
        listen(ServeSettings(host="no.such.name.invalid", token=TOKEN), port_is_fixed=True)


@pytest.mark.parametrize(
    "host", ["localhost:8710", "LocalHost:8710", "127.0.0.1:8710", "[::1]:8710"]
)
def test_loopback_names_with_the_port_are_known(host):
    assert host in HostNames(ServeSettings())


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:80",
        "evil.example:8710",
        "127.0.0.1:8710.evil.example",
        "192.0.2.1:8710",
    ],
)
def test_other_names_and_ports_are_not(host):
    assert host not in HostNames(ServeSettings())


def test_names_of_tunnels_are_known_when_they_are_allowed():
    names = HostNames(ServeSettings(allowed_hosts=("Tunnel.example:443",)))
    assert "tunnel.example:443" in names
    assert "tunnel.example" not in names


def test_a_server_open_to_all_answers_to_numbers_but_not_to_foreign_names():
    names = HostNames(ServeSettings(host="0.0.0.0", token=TOKEN))
    assert "192.0.2.1:8710" in names
    assert f"{socket.gethostname()}:8710" in names
    assert "192.0.2.1:80" not in names
    assert "evil.example:8710" not in names


def test_the_usual_port_may_be_left_out():
    assert "localhost" in HostNames(ServeSettings(port=80))


def test_the_address_for_a_browser_has_brackets_where_they_belong():
    assert url(ServeSettings()) == "http://127.0.0.1:8710/"
    assert url(ServeSettings(host="::1", port=9000)) == "http://[::1]:9000/"
    assert url(ServeSettings(host="::", token=TOKEN)) == f"http://{socket.gethostname()}:8710/"
