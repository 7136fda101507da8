import gzip
import os
import re
from pathlib import Path

import pytest
from starlette.requests import Request

from lmscope.core.errors import ArtifactError
from lmscope.server.bundle import SHIPPED, Bundle

PAGE = "<!doctype html><title>lmscope</title>"
SCRIPT = "console.log('a');" * 200


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "web"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text(PAGE)
    (root / "icon.svg").write_text("<svg/>")
    (root / "assets" / "index-a1B2_c-d.js").write_text(SCRIPT)
    (root / "assets" / "plain.css").write_text("a{}")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "assets" / "link.txt").symlink_to(tmp_path / "secret.txt")
    return root


def ask(bundle, path, **headers):
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "server": ("127.0.0.1", 8710),
        "path": path,
        "query_string": query.encode(),
        "headers": given,
    }
    return bundle.answer(Request(scope))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/suites/a.b-1",
        "/models/x",
        "/runs/20260101-000000-demo",
        "/jobs",
        "/othello",
        "/othello/some-run",
        "/dictionaries/a.12345678",
        "/dictionaries/a.12345678/features/131071",
        "/search",
        "/compare",
    ],
)
def test_every_page_has_an_address_of_its_own(folder, path):
    answer = ask(Bundle(folder), path, accept="text/html")
    assert (answer.status_code, answer.body.decode()) == (200, PAGE)
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/index.html", "/dictionaries/a/features/x", "/assets/gone-12345678.js", "/runs"],
)
def test_an_address_of_no_page_is_not_found_and_shows_the_app_which_says_so(folder, path):
    answer = ask(Bundle(folder), path, accept="text/html")
    assert (answer.status_code, answer.body.decode()) == (404, PAGE)


def test_files_named_by_their_content_may_be_kept_for_ever(folder):
    bundle = Bundle(folder)
    assert "immutable" in ask(bundle, "/assets/index-a1B2_c-d.js").headers["cache-control"]
    assert ask(bundle, "/assets/plain.css").headers["cache-control"] == "no-cache"
    assert ask(bundle, "/icon.svg").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/assets/index-a1B2_c-d.js", "text/javascript; charset=utf-8"),
        ("/assets/plain.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/", "text/html; charset=utf-8"),
    ],
)
def test_types_do_not_depend_on_the_machine(folder, path, kind):
    assert ask(Bundle(folder), path).headers["content-type"] == kind


def test_large_files_travel_compressed_where_the_browser_says_it_can(folder):
    bundle = Bundle(folder)
    small = ask(bundle, "/assets/index-a1B2_c-d.js", accept_encoding="br, gzip")
    assert small.headers["content-encoding"] == "gzip"
    assert gzip.decompress(small.body).decode() == SCRIPT
    assert ask(bundle, "/assets/index-a1B2_c-d.js").body.decode() == SCRIPT
    refused = ask(bundle, "/assets/index-a1B2_c-d.js", accept_encoding="gzip;q=0, br")
    assert refused.body.decode() == SCRIPT
    assert "content-encoding" not in ask(bundle, "/icon.svg", accept_encoding="gzip").headers


def test_an_unchanged_file_is_not_sent_again(folder):
    bundle = Bundle(folder)
    tag = ask(bundle, "/").headers["etag"]
    again = ask(bundle, "/", if_none_match=f'"other", {tag}')
    assert (again.status_code, again.body) == (304, b"")
    assert ask(bundle, "/", if_none_match='"other"').status_code == 200


def test_a_link_out_of_the_bundle_is_not_served(folder):
    answer = ask(Bundle(folder), "/assets/link.txt")
    assert answer.status_code == 404
    assert b"secret" not in answer.body


@pytest.mark.parametrize("path", ["/../secret.txt", "/assets/../../secret.txt", "secret.txt"])
def test_no_path_is_made_from_an_address(folder, path):
    assert b"secret" not in ask(Bundle(folder), path).body


@pytest.mark.parametrize(
    ("path", "twin"),
    [
        ("/", "/api/home"),
        ("/search?q=a%20b&kind=token", "/api/search?q=a%20b&kind=token"),
        ("/dictionaries/a.1/features/3", "/api/dictionaries/a.1/features/3"),
    ],
)
def test_a_page_asked_for_as_json_is_its_twin(folder, path, twin):
    answer = ask(Bundle(folder), path, accept="application/json")
    assert (answer.status_code, answer.headers["location"]) == (307, twin)
    browser = ask(Bundle(folder), path, accept="text/html, application/json")
    assert browser.status_code == 200


def test_a_new_build_is_served_without_a_restart(folder):
    bundle = Bundle(folder)
    (folder / "index.html").write_text("new")
    os.utime(folder / "index.html", ns=(1, 1))
    assert ask(bundle, "/").body == b"new"


def test_a_folder_without_a_bundle_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="make web"):
        Bundle(tmp_path)


def test_the_shipped_bundle_loads_nothing_from_elsewhere_and_runs_no_inline_script():
    page = (SHIPPED / "index.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    bundle = Bundle(SHIPPED)
    for address in addresses:
        assert address.startswith("/")
        assert ask(bundle, address).status_code == 200
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert "<style" not in page
    assert "style=" not in page


def test_the_shipped_bundle_is_small():
    assert sum(path.stat().st_size for path in Path(SHIPPED).rglob("*") if path.is_file()) < 2**21
