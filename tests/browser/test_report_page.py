"""The report as a reader's browser shows it: a real one, with no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from scaling_laws.figures import FIGURES
from scaling_laws.report.page import report

# What a drawing holds is hidden from readers who are read to, and has its words beside it.
DRAWINGS_ASIDE = {"exclude": [["svg"]]}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="session")
def address(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    report(complete, output=folder / "report.html", comparison=folder / "comparison.csv")
    return (folder / "report.html").as_uri()


def test_it_is_no_wider_than_the_window(page: Page):
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window


def test_nobody_is_shut_out(page: Page):
    found = Axe().run(page, context=DRAWINGS_ASIDE).response["violations"]
    serious = [(fault["id"], fault["nodes"][0]["html"]) for fault in found
               if fault["impact"] in SERIOUS]  # fmt: skip
    assert serious == []


def test_every_figure_is_seen(page: Page):
    for name in FIGURES:
        box = page.locator(f"#{name} svg").bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 50, name


def test_every_link_of_the_contents_leads_to_its_section(page: Page):
    links = page.locator("nav a")
    assert links.count() > 10
    for place in range(links.count()):
        links.nth(place).click()
        target = page.evaluate("decodeURIComponent(location.hash).slice(1)")
        top = page.locator(f"[id='{target}']").bounding_box()
        assert top is not None and top["y"] < 900


def test_tables_sort_by_click_and_by_key(page: Page):
    table = page.locator("#runs table")

    def column(number: int) -> list[float]:
        script = f"(t) => [...t.tBodies[0].rows].map(r => Number(r.cells[{number}].dataset.value))"
        values: list[float] = table.evaluate(script)
        return values

    names = table.locator("thead th").all_inner_texts()
    number = next(place for place, name in enumerate(names) if name.startswith("N"))
    heading = table.locator("thead th").nth(number)
    before = column(number)
    heading.locator("button").click()
    assert column(number) == sorted(before)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").press("Enter")
    assert column(number) == sorted(before, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"


def test_it_is_read_by_the_keyboard_alone(page: Page):
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName"))
    assert {"A", "DIV", "SUMMARY"} <= seen
    summary = page.locator("#fig01 summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#fig01 details").get_attribute("open") is not None
    assert "fits/L_N.json" in page.locator("#fig01 details").inner_text()


def test_it_prints(browser: Browser, address: str, tmp_path: Path):
    page = browser.new_page()
    page.goto(address)
    pdf = page.pdf(format="A4", path=tmp_path / "report.pdf")
    assert pdf.startswith(b"%PDF") and len(pdf) > 100_000
    page.close()
