"""index.html in a real browser, from the disk, with no server and no network."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import toy_nodes
from comfyui_ddim.cli import main
from comfyui_ddim.sweeps.axes import Axis
from comfyui_ddim.sweeps.cells import Cells
from comfyui_ddim.sweeps.folder import SweepFolder
from comfyui_ddim.sweeps.ledger import Entry
from comfyui_ddim.sweeps.page import HERE, Page
from sweep_kit import save

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CSS = ".cell"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """`opened(folder)`: the page there; fails at an error in it, and at anything fetched from elsewhere."""
    faults, pages = [], []

    def open_(folder):
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        pages.append(page)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "blob:")) or faults.append(request.url))
        page.goto((Path(folder) / "index.html").absolute().as_uri())
        page.wait_for_selector("#name:not(:empty)")
        return page

    yield open_
    for page in pages:
        page.context.close()
    assert not faults


def sweep(*arguments):
    line = ["sweep", "w.json", "--nodes", str(toy_nodes.PATH), "--quiet", "--output", "out", *arguments]
    return main(line)


def labels(page, kind):
    return page.locator(f".label.{kind}").all_inner_texts()


def test_axes_are_chosen_and_values_shown(place, opened):
    save(toy_nodes.adding(kind="picture", broken="3"))
    assert sweep("--over", "Add.factor=0, 1", "--over", "Add.seed=1..4", "--over", "1.sign=*") == 1
    page = opened("out")
    assert page.inner_text("#state") == "12 of 16 cells done, 4 failed"
    assert labels(page, "top") == ["1", "2", "3", "4"] and labels(page, "side") == ["0", "1"]
    assert page.locator(CSS).count() == 8 and page.locator(".cell.failed").count() == 2
    page.select_option("#axes label:has-text('Columns') select", label="1.sign")
    assert sorted(labels(page, "top")) == ["minus", "plus"]
    page.select_option("#axes label:has-text('Rows') select", label="(none)")
    assert page.locator(CSS).count() == 2 and page.locator("#axes select").count() == 4
    page.reload()  # the choice is in the address
    assert page.locator(CSS).count() == 2


def test_a_cell_a_comparison_and_favourites(place, opened, tmp_path):
    save(toy_nodes.adding(kind="picture"))
    assert sweep("--over", "Add.factor=0, 1", "--over", "Add.seed=1..3") == 0
    page = opened("out")
    page.hover("[data-index='4']")
    assert page.inner_text("#hint").splitlines()[:2] == ["Add.factor = 1", "Add.seed = 2"]
    page.click("[data-index='4']")
    picture = page.locator("dialog img")
    assert picture.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [64, 48]
    command = page.inner_text("#command")
    assert command == f"comfyui-ddim run w.json --nodes {toy_nodes.PATH} --set 2.factor=1 --set 2.seed=2"
    done = subprocess.run(f"{command} --output again", shell=True, capture_output=True, text=True)
    if done.returncode == 0:  # where the command is installed
        (cell,) = Path("out/cells").glob("1-1_*")
        assert Path("again/number.png").read_bytes() == (cell / "number.png").read_bytes()
    page.click("text=★ Favourite")
    page.click("text=Compare with")
    page.click("[data-index='1']", modifiers=["Shift"])
    assert page.locator("dialog figure").count() == 2
    assert page.locator("dialog tr.differs").all_inner_texts() == ["Add.factor\t1", "Add.factor\t0"]
    page.click("text=Close")
    assert page.locator(".cell.favourite").count() == 1
    page.check("#only")
    assert page.locator(CSS).count() == 1
    assert page.locator(".label").all_inner_texts() == ["factor 1, seed 2"]
    page.click("#list")
    (favourite,) = json.loads(page.input_value("#favourites"))
    assert favourite["values"] == {"Add.factor": "1", "Add.seed": "2"}
    with page.expect_download() as download:
        page.click("text=Save as a file")
    assert json.loads(Path(download.value.path()).read_text()) == [favourite]


def test_texts_are_texts(place, opened):
    """Values that look like HTML or end a script, and names of files with odd characters."""
    save({"1": {"class_type": "ToyText", "inputs": {"text": "", "flag": False}}})
    texts = ["</script><b>x", "<img src=x onerror=alert(1)>", "it's 'quoted'\nand goes on", "\u2028 日本"]
    Path("t.csv").write_text("1.text\n" + "".join('"' + text.replace('"', '""') + '"\n' for text in texts))
    assert sweep("--rows", "t.csv") == 0
    page = opened("out")
    assert page.locator(".label").all_inner_texts()[0] == texts[0]
    assert page.locator("main b, main img").count() == 0
    page.click("[data-index='2']")
    assert page.inner_text("#command").endswith("--set '1.text=it'\"'\"'s '\"'\"'quoted'\"'\"'\nand goes on'")


def test_of_ten_thousand_cells_only_those_in_view_are_there(tmp_path, opened):
    axes = [
        Axis("a", (("2", "seed"),), ("Add.seed",), [(i,) for i in range(100)]),
        Axis("b", (("2", "factor"),), ("Add.factor",), [(float(i),) for i in range(100)]),
    ]
    cells, folder = Cells(toy_nodes.adding(), axes), SweepFolder(tmp_path)
    page = Page(folder, cells, {"name": "many"})
    for index in range(len(cells)):
        page.add(index, Entry(cells.key(index), cells.at(index), "done", "", 1.0, "", files=(("a.txt", 1),)))
    page.write()
    assert folder.page.stat().st_size < 2**20
    page = opened(tmp_path)
    for x, y, first in ((0, 0, "0"), (6000, 9000, None), (10**6, 10**6, None)):
        page.evaluate(f"document.getElementById('area').scrollTo({x}, {y})")
        page.wait_for_timeout(200)
        assert 10 < page.locator(CSS).count() < 100
        assert first is None or labels(page, "side")[0] == first
    assert labels(page, "top")[-1] == "99" and labels(page, "side")[-1] == "99"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("script", ["cells.js", "page.js"])
def test_the_scripts_parse(script):
    result = subprocess.run(["node", "--check", str(HERE / script)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
