"""The comparison in a real browser: no request, no error, pictures seen, outlines hidden, panels enlarged."""

from __future__ import annotations

from typing import Any

import pytest
from compare_scenes import write_dataset, write_run

from tem_seg.compare import compare


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six runs in three columns, one of them unfinished."""
    folder = tmp_path_factory.mktemp("compare")
    dataset = write_dataset(folder / "discs-0123")
    runs = [write_run(folder / f"a{k}", dataset, seed=k, ap=0.6 + 0.02 * k) for k in range(3)]
    runs += [write_run(folder / f"b{k}", dataset, seed=k, lr=0.2, ap=0.8 + 0.02 * k, missed=1) for k in range(2)]
    runs.append(write_run(folder / "c", dataset, lr=0.3, finished=False))
    compare(runs, folder / "compare.html")
    browser.get_log("performance")
    browser.get((folder / "compare.html").as_uri())
    return browser


def test_nothing_goes_wrong_and_nothing_is_requested(page: Any) -> None:
    assert page.get_log("browser") == []
    asked = [e["message"] for e in page.get_log("performance") if "Network.requestWillBeSent" in e["message"]]
    assert asked and not [text for text in asked if '"url":"file:' not in text and '"url":"data:' not in text]


def test_sections_and_their_links(page: Any) -> None:
    headings = page.execute_script("return [...document.querySelectorAll('section > h2')].map(h => h.textContent)")
    assert headings == ["Figures", "The same micrograph under each model", "Sizes", "Detection", "Training",
                        "Settings that differ", "Runs"]  # fmt: skip
    dead = "return [...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length"
    assert page.execute_script(dead) == 0
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_cell_holds_mean_spread_and_difference(page: Any) -> None:
    script = """const row = [...document.querySelectorAll('table.compared tr')]
        .find(r => r.cells[0].textContent === 'AP, masks');
        return [...row.cells].slice(1).map(c => [...c.children].map(e => e.textContent))"""
    assert page.execute_script(script) == [["0.620 ± 0.020"], ["0.810 ± 0.014", "+0.190"], ["–"]]


def test_every_panel_shows_its_picture_and_scale_bar(page: Any) -> None:
    script = """return Promise.all([...document.querySelectorAll('.side-by-side .panel')].map(async p => {
        const picture = new Image();
        picture.src = getComputedStyle(p).backgroundImage.slice(5, -2);
        await picture.decode();
        const seen = p.getBoundingClientRect();
        return [picture.naturalWidth, picture.naturalHeight, Math.round(100 * seen.width / seen.height), p.ariaLabel,
                p.querySelector('.bar text').textContent]; }))"""
    panels = page.execute_script(script)
    assert len(panels) == 3 * 3, "three micrographs: annotated, A1, B1"
    assert all(panel[:3] == [128, 96, 133] and panel[3] and panel[4] == "10 nm" for panel in panels)


def test_the_legend_hides_what_was_missed(page: Any) -> None:
    shown = (
        "return [...document.querySelectorAll('.panel .fn')].filter(p => getComputedStyle(p).display !== 'none').length"
    )
    assert page.execute_script(shown) == 2, "B misses one in two micrographs; A finds all"
    page.execute_script("document.querySelector('#show-fn').click()")
    assert page.execute_script(shown) == 0
    page.execute_script("document.querySelector('#show-fn').click()")


def test_a_panel_is_enlarged_and_put_back(page: Any) -> None:
    page.execute_script("document.querySelector('.enlarge').click()")
    width = "return document.querySelector('{}').getBoundingClientRect().width"
    large = page.execute_script(width.format("dialog .panel"))
    page.find_element("css selector", "dialog .close").click()
    assert page.execute_script("return document.querySelectorAll('.side-by-side .panel').length") == 9
    assert large > 1.5 * page.execute_script(width.format(".side-by-side .panel"))


def test_plots_and_their_key(page: Any) -> None:
    plots = page.execute_script("return [...document.querySelectorAll('svg.plot')].map(s => s.ariaLabel)")
    assert [text.split(" of ")[0] for text in plots] == [
        "Distributions", "Precision over recall at IoU 0.5", "AP on validation micrographs over training steps",
        "Training loss over training steps",
    ]  # fmt: skip
    colours = page.execute_script(
        "return [...document.querySelectorAll('header .chip path')].map(p => p.getAttribute('stroke'))"
    )
    assert len(set(colours)) == 3


def test_a_narrow_window_does_not_scroll_sideways(page: Any) -> None:
    narrow = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    wide = page.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not wide
