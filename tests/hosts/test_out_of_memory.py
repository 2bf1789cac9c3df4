"""A file that is loaded where the memory doesn't hold it: that is said, and not that the file is damaged or unknown."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no limit on memory to set there")

SIZE = 96 * 2**20
LIMITED = """
import contextlib, json, resource, sys
from pathlib import Path
with contextlib.suppress(ImportError):
    import spandrel  # not under the limit
import torch
from comfyui_ddim.hosts.standalone.upscaling import load_upscale_model
from comfyui_ddim.networks import load_checkpoint
from comfyui_ddim.networks.text.textual_inversion import find_vectors
from comfyui_ddim.nodes.picture_reading import read_frames

def load(path):
    if path.suffix == ".png":
        return [frame.size for frame in read_frames(path, path.name)]
    if path.stem == "embedding":
        return find_vectors(path.name, [path.parent], 8)
    return load_upscale_model(path, "cpu") if path.stem == "upscaling" else load_checkpoint(path)

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 48 * 2**20, resource.RLIM_INFINITY))
try:
    print(load(Path(sys.argv[1])))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def loaded(path):
    """The kind and the text of the error that loading a file gives."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def large(path):
    """A file of one tensor."""
    tensors = {"emb_params": torch.zeros(SIZE // 4)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("name", ["embedding.safetensors", "embedding.pt", "checkpoint.ckpt"])
def test_weights(tmp_path, name):
    path = large(tmp_path / name)
    _, said = loaded(path)
    assert f"{path}: there is not enough memory to load it" in said and "\n" not in said


def test_a_picture(tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (9400, 9400)).save(path)
    assert loaded(path)[0] == "MemoryError"


def test_an_upscaling_model(tmp_path):
    """Its tensors fit, since they are all the same number, the network that they ask for doesn't."""
    pytest.importorskip("spandrel")
    from spandrel.architectures.ESRGAN import ESRGAN

    path = tmp_path / "upscaling.pth"
    tensors = ESRGAN(num_filters=16, num_blocks=1).state_dict()
    wide = {n: torch.zeros(1).expand([2**12 if size == 16 else size for size in t.shape]) for n, t in tensors.items()}
    torch.save(wide, path)
    assert path.stat().st_size < 2**20
    kind, said = loaded(path)
    assert kind == "NotEnoughMemory" and said.startswith(f"{path}: there is not enough memory to load it: ")
