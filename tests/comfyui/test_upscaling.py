"""Upscaling models in the runner, beside ComfyUI's nodes; these run where COMFYUI_DIR names a ComfyUI checkout."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS
from safetensors.torch import save_file

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two ESRGANs of chance weights, twice and four times as large, in the two kinds of file."""
    from spandrel.architectures.ESRGAN import ESRGAN

    base, state = tmp_path_factory.mktemp("models"), torch.random.get_rng_state()
    (base / "upscale_models").mkdir()
    torch.manual_seed(0)
    for scale, save in ((2, _as_pickle), (4, _as_safetensors)):
        tensors = ESRGAN(num_filters=16, num_blocks=2, scale=scale).state_dict()
        lively = {name: 2 * tensor if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
        *_, last = (name for name in lively if name.endswith("bias"))
        save({**lively, last: lively[last] + 0.5}, base / "upscale_models" / f"{scale}x")
    torch.random.set_rng_state(state)
    return base


def _as_pickle(tensors, path):
    torch.save({"params_ema": tensors}, path.with_suffix(".pth"))


def _as_safetensors(tensors, path):
    save_file(tensors, path.with_suffix(".safetensors"))


@pytest.fixture(scope="module")
def comfyui(folder):
    from comfyui_ddim.executor.comfyui import load_comfyui

    before = sys.path.copy()
    classes, _, _ = load_comfyui(Path(os.environ["COMFYUI_DIR"]), Context(device="cpu"), folder)
    yield classes
    sys.path[:] = before


def made(classes, name, *values):
    node = classes[name]
    if hasattr(node, "define_schema"):
        result = node.execute(*values)
        return (asyncio.run(result) if asyncio.iscoroutine(result) else result).args[0]
    return getattr(node(), node.FUNCTION)(*values)[0]


@pytest.mark.parametrize("name", ["2x.pth", "4x.safetensors"])
@pytest.mark.parametrize("size", [(2, 40, 24), (1, 33, 17)])
def test_images_are_enlarged_as_in_comfyui(comfyui, folder, name, size):
    image = torch.rand(*size, 3, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode(), using(Context(device="cpu", models_dir=folder)):
        ours, theirs = (
            made(classes, "ImageUpscaleWithModel", made(classes, "UpscaleModelLoader", name), image)
            for classes in (STAND_IN_CLASS_MAPPINGS, comfyui)
        )
    factor = int(name[0])
    assert ours.shape == theirs.shape == (size[0], factor * size[1], factor * size[2], 3)
    assert (ours - theirs).abs().max() <= 1e-5 and theirs.std() > 0.01


def test_what_is_larger_than_a_tile_has_no_seams(comfyui, folder):
    """Tiles lie elsewhere than in ComfyUI, and are blended otherwise: so close to the whole as theirs."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 30), torch.linspace(0, 9, 700), indexing="ij")
    image = torch.stack([columns.sin() / 2 + 0.5, rows, (columns * rows).cos() / 2 + 0.5], -1)[None]
    with torch.inference_mode(), using(Context(device="cpu", models_dir=folder)):
        ours = made(STAND_IN_CLASS_MAPPINGS, "UpscaleModelLoader", "2x.pth")
        whole = ours._descriptor(image.movedim(-1, 1)).movedim(1, -1)
        off = (made(STAND_IN_CLASS_MAPPINGS, "ImageUpscaleWithModel", ours, image) - whole).abs().mean()
        model = made(comfyui, "UpscaleModelLoader", "2x.pth")
        theirs = (made(comfyui, "ImageUpscaleWithModel", model, image) - whole).abs().mean()
    assert off <= 2 * theirs + 1e-5 < 0.01
