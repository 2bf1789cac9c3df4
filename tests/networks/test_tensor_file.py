"""Containers: safetensors and torch files, diffusers folders, networks alone, every dtype; and broken ones."""

import collections
import os
import pickle
import sys
import types
import zipfile

import pytest
import torch
from comfyui_ddim.networks import (
    Autoencoder,
    CheckpointError,
    ControlNet,
    LatentDiffusion,
    load_autoencoder,
    load_checkpoint,
    load_controlnet,
)
from comfyui_ddim.networks.loading.tensor_file import read_file, read_nested, tensor
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import load_file, save_file
from small_files import NARROW, same, write_folder


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(NARROW).eval().requires_grad_(False)


@pytest.fixture
def tensors(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("form", ["plain", "state_dict", "legacy"])
def test_torch_files(model, tensors, tmp_path, form):
    content = {"state_dict": tensors, "epoch": 3, "optimizer": [{"lr": 0.1}]} if form == "state_dict" else tensors
    # The name says nothing: what a file is, its content tells.
    path = tmp_path / "model.safetensors"
    torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    assert same(load_checkpoint(path), model)


def test_a_trainer_s_notes_in_a_published_torch_file(model, tensors, tmp_path, monkeypatch):
    # As in the first Stable Diffusion files: a class of the trainer's as a key, a number of numpy's as a value.
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    for parent in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    import numpy as np

    notes = {module.ModelCheckpoint: {"best_model_score": np.float64(0.1)}}
    torch.save({"state_dict": tensors, "callbacks": notes}, tmp_path / "a.ckpt")
    monkeypatch.delitem(sys.modules, name)
    assert same(load_checkpoint(tmp_path / "a.ckpt"), model)


class Evil:
    def __reduce__(self):
        return os.mkdir, (str(Evil.made),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_wants_more_is_refused_and_not_run(tensors, tmp_path, legacy):
    Evil.made = tmp_path / "made"
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": tensors, "more": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"evil\.ckpt: a pickle.*mkdir") as raised:
        load_checkpoint(path)
    assert not Evil.made.exists() and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [[1, 2], collections.OrderedDict(), "text"])
def test_a_pickle_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: .*expected"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, "mixed"])
def test_number_types_of_files(model, tensors, tmp_path, dtype):
    types = [torch.float16, torch.float32, torch.bfloat16]
    stored = {n: t.to(types[i % 3] if dtype == "mixed" else dtype) for i, (n, t) in enumerate(tensors.items())}
    save_file(stored, tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors").state_dict()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in stored.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_number_types_to_compute_in(tensors, tmp_path, dtype):
    save_file(tensors, tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors", dtype=dtype)
    kinds = {name.split(".")[0]: tensor.dtype for name, tensor in loaded.state_dict().items()}
    assert kinds == {"model": dtype, "first_stage_model": dtype, "cond_stage_model": torch.float32}


@pytest.mark.parametrize(
    ("prediction", "ending"), [("epsilon", ".safetensors"), ("v_prediction", ".bin"), ("epsilon", ".fp16.safetensors")]
)
def test_diffusers_folders(model, tmp_path, prediction, ending):
    write_folder(model, tmp_path, prediction, ending)
    loaded = load_checkpoint(tmp_path)
    assert same(loaded, model)
    assert loaded.parameterization == {"epsilon": "eps", "v_prediction": "v"}[prediction]
    assert (loaded.scale_factor, loaded.config.beta_start) == (0.2, 0.0008)
    assert (loaded.config.unet, loaded.config.text) == (NARROW.unet, NARROW.text)


@pytest.mark.parametrize("safe", [True, False])
def test_weights_in_shards(model, tmp_path, safe):
    write_folder(model, tmp_path, "epsilon", ".safetensors")
    folder = tmp_path / "unet"
    unet = UNet2DConditionModel.from_pretrained(folder)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder, max_shard_size="500KB", safe_serialization=safe)
    shards = sorted(folder.glob("*-of-*"))
    assert len(shards) > 2
    assert same(load_checkpoint(tmp_path), model)
    (index,) = folder.glob("*.index.json")
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=rf"{shards[1].name}: no such file"):
        load_checkpoint(tmp_path)
    index.write_text('{"weight_map": ["one"]}')
    with pytest.raises(CheckpointError, match=rf"{index.name}: it has no weight_map"):
        load_checkpoint(tmp_path)


def test_text_encoders_as_transformers_named_them_before(model, tmp_path):
    write_folder(model, tmp_path, "epsilon", ".safetensors")
    path = tmp_path / "text_encoder" / "model.safetensors"
    older = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in load_file(path).items()}
    save_file(older, path)
    assert same(load_checkpoint(tmp_path), model)


def test_broken_folders(model, tmp_path):
    with pytest.raises(CheckpointError, match=r"model_index\.json: no such file"):
        load_checkpoint(tmp_path)
    write_folder(model, tmp_path, "epsilon", ".safetensors")
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"vae/diffusion_pytorch_model\.safetensors: expected a whole"):
        load_checkpoint(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"vae: it has no weights"):
        load_checkpoint(tmp_path)
    weights.write_bytes(whole)
    scheduler = tmp_path / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("epsilon", "flow_prediction"))
    with pytest.raises(CheckpointError, match="'flow_prediction'"):
        load_checkpoint(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transformer": []}')
    with pytest.raises(CheckpointError, match=r"looks like FluxPipeline.*--comfyui"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("layout", ["published", "in a checkpoint", "diffusers", "folder", "trained with a loss"])
def test_autoencoders_alone(model, tensors, tmp_path, layout):
    path, prefix = tmp_path / "vae.safetensors", "first_stage_model."
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if layout == "in a checkpoint":
        own = tensors
    elif layout == "trained with a loss":
        own |= {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.zeros(())}
        path = tmp_path / "vae.pt"
        torch.save({"state_dict": own}, path)
    elif layout in ("diffusers", "folder"):
        sizes = {"down_block_types": [""] * 2, "up_block_types": [""] * 2}
        own = convert_ldm_vae_checkpoint(tensors, sizes)
        path = tmp_path / "diffusion_pytorch_model.safetensors"
    if path.suffix == ".safetensors":
        save_file({name: t.contiguous() for name, t in own.items()}, path)
    loaded = load_autoencoder(tmp_path if layout == "folder" else path)
    assert isinstance(loaded, Autoencoder) and same(loaded, model.first_stage_model)


@pytest.mark.parametrize("layout", ["published", "without its prefix", "diffusers", "with its model"])
def test_controlnets(model, tensors, tmp_path, layout):
    net = ControlNet.copy_of(model.model.diffusion_model)
    own = {f"control_model.{name}": t for name, t in net.state_dict().items()}
    if layout == "diffusers":
        own = convert_controlnet_checkpoint(own, {"layers_per_block": 1})
        other = ControlNetModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
            cross_attention_dim=64,
        )
        assert other.state_dict().keys() == own.keys()
    elif layout == "without its prefix":
        own = net.state_dict()
    elif layout == "with its model":
        own |= tensors
    save_file(own, tmp_path / "a.safetensors")
    loaded = load_controlnet(tmp_path / "a.safetensors")
    assert loaded.config == NARROW.unet and same(loaded, net)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["model.diffusion_model.out.2.bias", "first_stage_model.decoder.conv_in.weight"])
def test_weights_that_are_no_numbers(tensors, tmp_path, value, part):
    tensors[part].view(-1)[2] = value
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=f"{part}' has (NaN|infinity) in the file, expected finite"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_weights_that_a_number_type_can_not_hold(tensors, tmp_path):
    tensors["model.diffusion_model.out.2.bias"][1] = 1e6
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"out\.2\.bias' has infinity as float16"):
        load_checkpoint(tmp_path / "a.safetensors", dtype=torch.float16)


def test_large_weights_are_no_reason(tensors, tmp_path):
    tensors["model.diffusion_model.out.2.weight"].fill_(3e38)
    save_file(tensors, tmp_path / "a.safetensors")
    load_checkpoint(tmp_path / "a.safetensors")


def test_weights_that_are_whole_numbers(tensors, tmp_path):
    tensors["model.diffusion_model.out.2.bias"] = torch.zeros(4, dtype=torch.int64)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"out\.2\.bias' is of the type int64"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_cut_off_and_empty_files(tensors, tmp_path):
    torch.save(tensors, tmp_path / "a.ckpt")
    whole = (tmp_path / "a.ckpt").read_bytes()
    save_file(tensors, tmp_path / "a.safetensors")
    safe = (tmp_path / "a.safetensors").read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    for content in (
        b"",
        whole[:1000],
        whole[:-1000],
        whole[: len(whole) // 2],
        safe[:-1],
        safe[:100],
        pointer,
        b"\x80",
    ):
        for name in ("b.ckpt", "b.safetensors"):
            (tmp_path / name).write_bytes(content)
            for load in (load_checkpoint, load_autoencoder, load_controlnet):
                with pytest.raises(CheckpointError, match=r"b\.(ckpt|safetensors): ") as raised:
                    load(tmp_path / name)
                assert "\n" not in str(raised.value)


def test_an_empty_file_is_not_a_text(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: expected a whole .*, it has 0 bytes"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: expected a whole torch file"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_pickle_of_pickle_s_own(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"a\.pt: "):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("read", [read_nested, lambda path: {n: tensor(t) for n, t in read_file(path).tensors.items()}])
def test_a_safetensors_file_may_begin_with_any_length(tmp_path, read):
    """Its first byte is then a torch file's, now and then: 0x50 is a zip's P, 0x80 a pickle's."""
    firsts = set()
    for notes in range(0, 256, 8):
        save_file({"a": torch.arange(4.0)}, tmp_path / "a", {"notes": "x" * notes})
        firsts.add((tmp_path / "a").read_bytes()[0])
        assert torch.equal(read(tmp_path / "a")["a"], torch.arange(4.0))
    assert {0x50, 0x80} <= firsts
