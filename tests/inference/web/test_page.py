"""The page clicked through in a real Chromium; skipped where there is none."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from physseg.data.images import read_label_map
from physseg.toy_world.example import toy_scene
from physseg.visualization import palette

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def page(address, tmp_path):
    """The page in a browser with an empty profile; fails at the end if anything went outside or broke."""
    playwright = pytest.importorskip("playwright.sync_api")
    broken, asked = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1300, "height": 900},
            accept_downloads=True,
        )
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
        page.goto(address)
        yield page
        browser.close()
    outside = [url for url in asked if urlsplit(url).scheme in ("http", "https") and not url.startswith(address)]
    assert outside == []
    assert broken == []


def wait_for_words(page, viewer, words):
    """Until a viewer shows exactly these names."""
    script = "([id, words]) => document.querySelector(`#${id} .viewer`)?.dataset.ready === words.join('|')"
    page.wait_for_function(script, arg=[viewer, words])


def colour_at(page, viewer, x, y):
    script = (
        "([id, x, y]) => [...document.querySelector(`#${id} canvas`).getContext('2d').getImageData(x, y, 1, 1).data]"
    )
    return page.evaluate(script, [viewer, x, y])[:3]


def hover(page, viewer, x, y):
    """The tip over a pixel of the picture."""
    canvas = page.locator(f"#{viewer} canvas")
    box, size = canvas.bounding_box(), canvas.evaluate("c => [c.width, c.height]")
    page.mouse.move(box["x"] + (x + 0.5) * box["width"] / size[0], box["y"] + (y + 0.5) * box["height"] / size[1])
    return page.inner_text(f"#{viewer} .tip")


def set_range(page, selector, value):
    script = "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', { bubbles: true })); }"
    page.locator(selector).first.evaluate(script, value)


def test_from_a_picture_to_files(page, tmp_path):
    image, names, truth = toy_scene(seed=0, height=288)
    Image.fromarray(image).save(tmp_path / "scene.png")
    names = names[:3]

    # A picture, then words.
    page.set_input_files("#picture input[type=file]", str(tmp_path / "scene.png"))
    page.get_by_text("Now type words").wait_for()
    page.fill("#words textarea", ", ".join(names))
    page.click("#run button, button#run")
    wait_for_words(page, "first", names)
    assert re.fullmatch(r"picture \d+ ms, words \d+ ms", page.inner_text("#first .time"))

    # What lies under the pointer is what the file says.
    with page.expect_download() as download:
        page.click("#first .labels")
    assert download.value.suggested_filename == "scene_labels.png"
    labels = read_label_map(download.value.path())
    assert labels.shape == truth.shape
    for y, x in ((20, 20), (144, 192), (270, 350)):
        name, probability = hover(page, "first", x, y).rsplit(maxsplit=1)
        assert name.strip() == names[labels[y, x]]
        assert 0 <= float(probability) <= 1

    # A word switched off shows the picture; on again, its colour.
    y, x = np.argwhere(labels == 0)[1000]
    set_range(page, "#first .alpha", 1)
    assert colour_at(page, "first", int(x), int(y)) == palette(3)[0].tolist()
    chip = page.locator(f'#first .word[data-name="{names[0]}"]')
    chip.click()
    page.mouse.move(0, 0)
    shown = np.array(colour_at(page, "first", int(x), int(y)))
    assert np.abs(shown - image[y, x].astype(int)).max() < 40  # JPEG
    assert chip.get_attribute("aria-pressed") == "false"
    page.click("#first .all")
    assert colour_at(page, "first", int(x), int(y)) == palette(3)[0].tolist()

    # One more word competes, and the picture is not encoded again.
    more = toy_scene(seed=0)[1][3]
    page.fill("#more textarea, #more input", more)
    page.keyboard.press("Enter")
    wait_for_words(page, "first", [*names, more])
    assert page.input_value("#words textarea") == ", ".join([*names, more])
    assert page.inner_text("#first .time").startswith("picture kept, words ")

    # A threshold makes a rest.
    page.fill("#threshold input[type=number]", "0.99")
    page.keyboard.press("Tab")
    wait_for_words(page, "first", [*names, more, "other"])
    with page.expect_download() as download:
        page.click("#first .json")
    assert download.value.suggested_filename == "scene.json"
    record = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert record["threshold"] == 0.99
    assert [category["name"] for category in record["categories"]] == [*names, more, "other"]
    with page.expect_download() as download:
        page.click("#first .overlay")
    assert Image.open(download.value.path()).size == (384, 288)

    # Two models side by side.
    page.click("#other input")
    page.get_by_role("option", name="toy, again").click()
    wait_for_words(page, "second", [*names, more, "other"])
    assert page.inner_text("#second .model") == "toy, again"
    boxes = [page.locator(f"#{viewer} canvas").bounding_box() for viewer in ("first", "second")]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def test_what_is_refused_is_said(page, tmp_path):
    page.click("button#example, #example button")
    page.wait_for_function("document.querySelector('#first .viewer')?.dataset.ready")
    page.fill("#words textarea", "a, b, c, d, e, f, g")
    page.click("#run button, button#run")
    page.get_by_text("7 words were typed; the page takes 6 at most.").wait_for()
    Image.new("RGB", (1000, 1000)).save(tmp_path / "large.png")
    page.set_input_files("#picture input[type=file]", str(tmp_path / "large.png"))
    page.get_by_text("The picture has 1000x1000 pixels; the page takes 0.5 million at most.").wait_for()


def test_a_phone_shows_one_column(page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.click("button#example, #example button")
    page.wait_for_function("document.querySelector('#first .viewer')?.dataset.ready")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#first canvas").bounding_box()["width"] > 250
