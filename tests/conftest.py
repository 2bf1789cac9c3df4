"""Makes pytest treat the repository root as a folder; loads or starts the ComfyUI that some tests are about."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from editor import PACK, ROOT, browser_at
from PIL import Image


class _RootIsAFolder:
    """The root's `__init__.py` is the package, not a test module."""

    def __init__(self, root):
        self.root = root

    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == self.root else None


def pytest_configure(config):
    config.pluginmanager.register(_RootIsAFolder(config.rootpath))
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as of a job in the background; children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


class ComfyServer:
    """A running ComfyUI: its `url`, its `base` folder with input, output and so on, and its `log` file."""

    def __init__(self, url, base):
        self.url, self.base, self.log = url, base, base / "log"

    def asked(self, path, data=None):
        """What it answers to a GET, or to a POST of `data`."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def queued(self, prompt):
        """Run a prompt in API form; its history."""
        return self.history(self.asked("/prompt", {"prompt": prompt})["prompt_id"])

    def history(self, prompt_id, seconds=240):
        """The history of a prompt, once it is through."""
        for _ in range(seconds * 5):
            if history := self.asked(f"/history/{prompt_id}"):
                return history[prompt_id]
            time.sleep(0.2)
        raise AssertionError(self.log.read_text()[-3000:])

    def pictures(self, history, kinds=("output", "temp")):
        """The pictures of a run that went well: those saved ("output"), those shown only ("temp")."""
        assert history["status"]["status_str"] == "success", history["status"]["messages"]
        for output in history["outputs"].values():
            for entry in (entry for entry in output.get("images", ()) if entry["type"] in kinds):
                file = self.base / entry["type"] / entry["subfolder"] / entry["filename"]
                yield Image.open(BytesIO(file.read_bytes()))


@pytest.fixture(scope="module")
def comfy():
    """ComfyUI's package in this process, on the CPU, from where COMFYUI_DIR says."""
    sys.path.insert(0, os.environ["COMFYUI_DIR"])
    try:
        import comfy.cli_args

        comfy.cli_args.args.cpu = True
        import comfy.controlnet
        import comfy.hooks
        import comfy.sample
        import comfy.samplers
        import comfy.sd
        import comfy.sd1_clip
        import comfy.supported_models_base

        yield comfy
    finally:
        sys.path.remove(os.environ["COMFYUI_DIR"])


@pytest.fixture(scope="session")
def run_comfyui(tmp_path_factory):
    """`with run_comfyui({name: folder}) as server`: ComfyUI on loopback, these folders linked in as node packs.

    COMFYUI_DIR names its checkout, COMFYUI_PYTHON the interpreter that runs it (default: this one), FRONT_END the
    folder of another front end than the one that it brings.
    """

    @contextmanager
    def run(packs, *options):
        base = tmp_path_factory.mktemp("comfyui")
        for folder in ("custom_nodes", "input", "output", "temp", "user/default", "models/checkpoints"):
            (base / folder).mkdir(parents=True)
        for name, folder in packs.items():
            (base / "custom_nodes" / name).symlink_to(folder)
        # a browser that comes here first would be shown a tour
        (base / "user/default/comfy.settings.json").write_text('{"Comfy.TutorialCompleted": true}')
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = ComfyServer(f"http://127.0.0.1:{port}", base)
        main = [os.environ.get("COMFYUI_PYTHON", sys.executable), Path(os.environ["COMFYUI_DIR"]) / "main.py", "--cpu"]
        where = ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
        quietly = ["--database-url", "sqlite:///:memory:", "--disable-auto-launch"]
        if "FRONT_END" in os.environ:
            quietly += ["--front-end-root", os.environ["FRONT_END"]]
        with server.log.open("wb") as log:
            process = subprocess.Popen([*main, *where, *quietly, *options], cwd=base, stdout=log, stderr=log)
        try:
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(30)

    return run


@pytest.fixture(scope="module")
def server(run_comfyui):
    """A ComfyUI with this pack in it."""
    with run_comfyui({PACK: ROOT}, "--preview-method", "latent2rgb") as server:
        yield server


@pytest.fixture(scope="module")
def page(server):
    """That ComfyUI's editor in a browser."""
    with browser_at(server.url) as page:
        yield page


@pytest.fixture(params=["on the canvas", "as elements"])
def drawn(request, page):
    """The editor's two ways to draw nodes; older ones have only the first."""
    as_elements = request.param == "as elements"
    if not page("drawNodes", as_elements) and as_elements:
        pytest.skip("this editor draws nodes on its canvas only")
    yield
    page("drawNodes", False)


def _wait(server, process):
    """Until it answers; a busy machine may need minutes."""
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            return server.asked("/system_stats")
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"ComfyUI did not start: {server.log.read_text()[-3000:]}")
