"""What a person sees: TensorBoard on a finished run, and the page of it, in headless Chromium.

    make test-browser

Skipped where there is no Chromium or no playwright. ``LFCS_CHROMIUM`` names the browser where it is not found by
itself. With ``LFCS_SCREENSHOTS`` set, pictures of what was seen are written there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_orphans import answers, free_port, until

import lfcs
from lfcs.report import page as pages

pytestmark = pytest.mark.browser
NAMES = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"


def executable():
    """Return the Chromium of this machine, None for the one that playwright brings."""
    named = os.environ.get("LFCS_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra 'browser': pip install 'lfcs[browser]'")
    with api.sync_playwright() as play:
        try:
            opened = play.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}; python -m playwright install chromium")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the default size, small in steps."""
    settings = {"train.eval_every": 2000, "train.final_episodes": 20}
    path = tmp_path_factory.mktemp("runs") / "cartpole_lf-cs"
    return lfcs.train("cartpole", steps=6_000, settings=settings, run_dir=path, watch="full")


@pytest.fixture(scope="module")
def board(run):
    """The address of ``lfcs watch``."""
    port = free_port()
    folder = run.path.parent  # by its own name, which TensorBoard shows
    command = [sys.executable, "-m", "lfcs.cli", "watch", folder.name, "--port", str(port)]
    watch = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder.parent)
    assert until(lambda: answers(port))
    yield f"http://localhost:{port}"
    watch.terminate()
    watch.wait(timeout=30)


@pytest.fixture
def shot():
    """Keep a picture where pictures are wanted."""

    def keep(page, name):
        if folder := os.environ.get("LFCS_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=name.startswith("report"))

    return keep


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_seen(browser, run, shot, tmp_path, scheme):
    path = pages.write([run.path], tmp_path / "report.html")
    context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": 1100, "height": 900})
    seen, asked, errors = context.new_page(), [], []
    seen.on("request", lambda request: asked.append(request.url))
    seen.on("pageerror", lambda error: errors.append(error))
    seen.goto(path.as_uri())
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"} and not errors
    sizes = seen.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.clientHeight])")
    assert len(sizes) == 4 and all(done and wide > 100 and w > 500 and h > 100 for done, wide, w, h in sizes)
    background, ink = (
        seen.evaluate(f"getComputedStyle(document.body).{what}") for what in ("backgroundColor", "color")
    )
    dark = sum(map(int, background[4:-1].split(","))) < sum(map(int, ink[4:-1].split(",")))
    assert dark == (scheme == "dark"), "words can be read on it"
    assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
    shot(seen, f"report_{scheme}")
    seen.set_viewport_size({"width": 420, "height": 800})
    assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nor on a telephone"
    context.close()


def data(page, board, route):
    """Return what TensorBoard's plugin answers."""
    return page.request.get(f"{board}/data/plugin/{route}").json()


def test_tensorboard_has_what_there_is_to_see(browser, run, board, shot):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    seen, name = context.new_page(), run.path.name
    assert until(lambda: name in data(seen, board, "scalars/tags"))
    scalars = data(seen, board, "scalars/tags")[name]
    assert {"rollout/ep_rew_mean", "train/approx_kl", "spikes/rate_mean"} <= set(scalars)
    seen.goto(f"{board}/#timeseries")
    seen.wait_for_selector("scalar-card", timeout=60_000)
    assert until(lambda: seen.locator("scalar-card svg path, scalar-card canvas").count() > 0, 30)
    seen.wait_for_timeout(2000)
    shot(seen, "tensorboard")
    context.close()


@pytest.mark.parametrize(("plugin", "tab"), [
    ("images", "images"), ("histograms", "histograms"), ("text", "text"), ("custom_scalars", "custom_scalars"),
])  # fmt: skip
def test_tensorboard_has_more_than_curves(browser, run, board, shot, plugin, tab):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    seen = context.new_page()
    listed = seen.request.get(f"{board}/data/plugins_listing").json()
    assert listed[plugin]["enabled"], f"TensorBoard has no {plugin}"
    route = {"custom_scalars": "custom_scalars/layout"}.get(plugin, f"{plugin}/tags")
    assert data(seen, board, route), "and they are not empty"
    seen.goto(f"{board}/#{tab}")
    seen.wait_for_timeout(4000)
    shot(seen, f"tensorboard_{plugin}")
    context.close()


def test_tensorboard_has_hyperparameters(browser, board, shot):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    seen = context.new_page()
    asked = seen.request.post(f"{board}/data/plugin/hparams/experiment", data={"experimentName": ""}).json()
    names = [column["name"] for column in asked["hparamInfos"]]
    assert len(names) > 10 and any(name.startswith("final/") for name in names) and asked["metricInfos"]
    seen.goto(f"{board}/#hparams")
    seen.wait_for_timeout(4000)
    shot(seen, "tensorboard_hparams")
    context.close()
