"""The report in a real browser: no request, no error, pictures decoded, headings sort, panels enlarge."""

from __future__ import annotations

from typing import Any

import pytest
from reporting_scenes import FakeRun, make_run

from tem_seg.reporting.html import build_report


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, FakeRun]:
    """The report of the fake run, opened once."""
    folder = tmp_path_factory.mktemp("run")
    run = make_run(folder)
    path = build_report(folder, **run.arguments())
    browser.get_log("performance")
    browser.get(path.as_uri())
    return browser, run


def test_nothing_goes_wrong_and_nothing_is_requested(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    assert browser.get_log("browser") == []
    requested = [
        entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]
    ]
    assert requested  # the log works: it holds the report itself
    assert not [text for text in requested if '"url":"file:' not in text and '"url":"data:' not in text]
    entries = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in entries if not name.startswith("data:")]


def test_all_pictures_are_decoded_and_described(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    pictures = browser.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.alt])"
    )
    assert len(pictures) == 8
    assert all(picture[:3] == [True, 200, 160] and picture[3] for picture in pictures)
    plots = browser.execute_script(
        "return [...document.querySelectorAll('svg.plot')].map(s => [s.getBoundingClientRect().width, s.ariaLabel])"
    )
    assert len(plots) == 9
    assert all(width > 200 and label for width, label in plots)


def test_sections_and_ids(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    headings = browser.execute_script("return [...document.querySelectorAll('section > h2')].map(h => h.textContent)")
    assert headings == ["Micrographs", "Sizes", "Detection", "Training", "Particles", "How this was made"]
    dead = browser.execute_script(
        "return [...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length"
    )
    assert dead == 0
    twice = browser.execute_script(
        "const ids = [...document.querySelectorAll('body [id]:not(svg *)')].map(e => e.id);"
        "return ids.length - new Set(ids).size"
    )
    assert twice == 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def _column(browser: Any, name: str) -> list[str]:
    script = """const table = document.querySelector('#particles table');
        const place = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === arguments[0]);
        return [...table.tBodies[0].rows].map(r => r.cells[place].textContent)"""
    return list(browser.execute_script(script, name))


def _click(browser: Any, name: str) -> str:
    script = """const heading = [...document.querySelectorAll('#particles th')]
        .find(c => c.textContent === arguments[0]);
        heading.querySelector('button').click(); return heading.getAttribute('aria-sort')"""
    return str(browser.execute_script(script, name))


def test_headings_sort_by_value(page: tuple[Any, FakeRun]) -> None:
    browser, run = page
    name = "equivalent diameter (nm)"
    expected = sorted(run.particles["equivalent_diameter_nm"])
    assert _click(browser, name) == "ascending"
    assert [float(text) for text in _column(browser, name)] == pytest.approx(expected, abs=0.01)
    assert _click(browser, name) == "descending"
    assert [float(text) for text in _column(browser, name)] == pytest.approx(expected[::-1], abs=0.01)
    assert _click(browser, "image") == "ascending"
    assert _column(browser, "image") == sorted(_column(browser, "image"))
    assert len(_column(browser, "image")) == len(run.particles)


def test_legend_hides_a_kind_of_outline(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    shown = (
        "return [...document.querySelectorAll('.panel .fp')].filter(p => getComputedStyle(p).display !== 'none').length"
    )
    assert browser.execute_script(shown) == 2
    browser.execute_script("document.querySelector('#show-fp').click()")
    assert browser.execute_script(shown) == 0
    browser.execute_script("document.querySelector('#show-fp').click()")


def test_a_panel_is_enlarged_and_put_back(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    browser.execute_script("document.querySelector('.enlarge').click()")
    width = "return document.querySelector('{}').getBoundingClientRect().width"
    large = browser.execute_script(width.format("dialog .panel"))
    browser.find_element("css selector", "dialog .close").click()
    assert browser.execute_script("return document.querySelectorAll('dialog .panel').length") == 0
    assert browser.execute_script("return document.querySelectorAll('.pair .panel').length") == 8
    assert large > 1.5 * browser.execute_script(width.format(".pair .panel"))


def test_dark_readers_get_light_ink(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    ink = "return getComputedStyle(document.querySelector('svg.plot text')).fill"
    light = browser.execute_script(ink)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = browser.execute_script(ink)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (light, dark) == ("rgb(27, 33, 41)", "rgb(230, 234, 238)")


def test_a_narrow_window_does_not_scroll_sideways(page: tuple[Any, FakeRun]) -> None:
    browser, _ = page
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    wide = browser.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not wide
