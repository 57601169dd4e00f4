"""The page of lineage as a reader's browser shows it: a real one, with no network."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from planted_manifests import plant
from playwright.sync_api import Page

from scaling_laws.lineage.page import OPENED, lineage

RUNS = 300


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    results = plant(tmp_path_factory.mktemp("project") / "results", RUNS)
    lineage(results, output=results / "lineage/index.html")
    return (results / "lineage/index.html").as_uri()


def test_it_is_no_wider_than_the_window(page: Page):
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window


def test_nobody_is_shut_out(page: Page):
    # Three of hundreds of jobs, opened, stand for all.
    page.locator("#stage-train, #stage-train details:nth-of-type(-n+3)").evaluate_all(
        "all => all.forEach(each => each.open = true)"
    )
    found = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []


def test_a_box_of_the_flow_opens_its_stage_by_click_and_by_key(page: Page):
    for name, press in (("train", "click"), ("collect", "Enter")):
        stage = page.locator(f"#stage-{name}")
        assert stage.get_attribute("open") is None
        box = page.locator(f'svg a[href="#stage-{name}"]')
        box.click() if press == "click" else box.press(press)
        page.wait_for_function(f"document.getElementById('stage-{name}').open")
        assert stage.locator("summary").first.is_visible()
    rows = page.locator("#stage-train table.sortable tbody tr")
    assert rows.count() == RUNS
    assert page.locator("#stage-train .full").count() == OPENED


def test_a_job_tells_all_that_its_manifest_does(page: Page):
    page.locator("#stage-train").evaluate("stage => stage.open = true")
    job = page.locator("#stage-train .full").first
    job.locator("summary").click()
    text = job.inner_text()
    for word in ("scaling-laws train", "tokens/train.bin", "run.json", "rows", "Seed"):
        assert word in text
    environment = page.locator("#stage-train tbody a").first
    environment.click()
    assert page.evaluate("location.hash") == "#environment-1"
    assert "numpy 2.4.6" in page.locator("#environment-1 + dl").inner_text()


def test_a_row_leads_to_the_manifest(page: Page):
    page.locator("#stage-train").evaluate("stage => stage.open = true")
    with page.expect_navigation():
        page.locator("#stage-train tbody tr").first.get_by_role("link").last.click()
    assert '"rule": "train"' in page.content()
