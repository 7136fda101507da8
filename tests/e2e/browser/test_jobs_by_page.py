"""Jobs that are started on a page run to their end, or stop when they are told to, while it looks on."""

import os
import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        "LMSCOPE_E2E_LIBRARY" in os.environ, reason="leaves a library of one's own as it is"
    ),
]


def _run(served, job: str) -> str:
    return next(
        run["id"]
        for run in served.get("/home")["runs"]
        if run["job"] == job and "hostile" not in run["id"]
    )


def test_job_runs_to_its_end_and_its_run_is_shown(page, visit, served):
    visit(page, "/jobs?" + urlencode({"verb": "explain", "run": _run(served, "atlas")}))
    page.get_by_role("button", name="Explain", exact=True).click()
    card = page.locator(".job").first
    expect(card).to_contain_text("lmscope explain")
    expect(card).to_contain_text("done", timeout=180_000)
    card.get_by_role("link", name="Its run").click()
    expect(page).to_have_url(re.compile("/runs/"))
    expect(page.locator("main")).to_contain_text("done")


def test_job_stops_when_told(page, visit, served):
    visit(page, "/jobs?" + urlencode({"verb": "evaluate", "run": _run(served, "train")}))
    page.get_by_role("button", name="Evaluate", exact=True).click()
    card = page.locator(".job").first
    stop = card.get_by_role("button", name=re.compile("Stop|Remove"))
    stop.click()
    expect(card).to_contain_text("cancelled", timeout=180_000)
    expect(stop).to_have_count(0)
