"""Noise from files: every kind that scripts write, and what is wrong with the others."""

import os

import numpy as np
import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.nodes.noise import EXAMPLES
from comfyui_ddim.nodes.noise_files import ENDINGS, read_noise
from safetensors.torch import save_file

NODE = NODE_CLASS_MAPPINGS["DDIMLoadNoise"]
X_T = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def folder(tmp_path):
    with using(Context(input_dir=tmp_path)):
        yield tmp_path


def loaded(name):
    assert NODE.VALIDATE_INPUTS(name) is True
    return NODE().load(name)[0]["samples"]


def test_every_kind_is_read_as_it_was_written(folder):
    save_file({"latent_tensor": X_T, "latent_format_version_0": torch.tensor([])}, folder / "a.latent")
    save_file({"noise": X_T}, folder / "b.safetensors")
    np.save(folder / "c.npy", X_T.double().numpy())
    torch.save(X_T, folder / "d.pt")
    torch.save(X_T.half(), folder / "E.PTH")
    names = [path.name for path in folder.iterdir()]
    assert set(names) | {path.name for path in EXAMPLES.iterdir()} == set(NODE.INPUT_TYPES()["required"]["file"][0])
    assert {name[name.index(".") :].lower() for name in names} == set(ENDINGS)
    for name in names:
        samples = loaded(name)
        assert samples.dtype == torch.float32
        assert torch.equal(samples, X_T.half().float() if name == "E.PTH" else X_T), name


def test_one_image_s_noise_is_a_batch_of_one(folder):
    np.save(folder / "a.npy", X_T[0].numpy())
    assert torch.equal(loaded("a.npy"), X_T[:1])


def test_what_ships_is_noise(folder):
    for path in EXAMPLES.iterdir():
        samples = loaded(path.name)
        assert abs(samples.mean()) < 0.1 and abs(samples.std() - 1) < 0.1


def test_a_changed_file_is_read_again(folder):
    np.save(folder / "a.npy", X_T.numpy())
    before = NODE.IS_CHANGED("a.npy")
    assert NODE.IS_CHANGED("a.npy") == before
    np.save(folder / "a.npy", X_T[:1].numpy())
    assert NODE.IS_CHANGED("a.npy") != before


class Stranger:
    """What only running code could unpickle."""


BROKEN = {
    "flat.npy": (lambda path: np.save(path, np.zeros(5)), r"flat.npy has the shape \(5,\), expected \(batch, channels"),
    "empty.npy": (lambda path: np.save(path, np.zeros((1, 4, 0, 8))), "empty.npy has the shape"),
    "words.npy": (lambda path: np.save(path, np.array(["x"])), "words.npy holds <U1, expected real numbers"),
    "objects.npy": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), r"objects.npy can't be read"),
    "nan.npy": (lambda path: np.save(path, np.full((1, 4, 8, 8), np.nan)), "nan.npy has values that are NaN"),
    "two.safetensors": (lambda path: save_file({"a": X_T, "b": X_T + 1}, path), "two.safetensors holds 2 tensors"),
    "cut.latent": (lambda path: path.write_bytes(b"\x10\0\0\0"), "cut.latent can't be read as a .latent file"),
    "cut.pt": (lambda path: path.write_bytes(b"\x80"), "cut.pt can't be read as a .pt file"),
    "code.pt": (lambda path: torch.save(Stranger(), path), "code.pt can't be read as a .pt file"),
    "dict.pt": (lambda path: torch.save({"a": X_T, "b": 1}, path), "dict.pt holds 2 tensors, expected one"),
    "complex.pt": (lambda path: torch.save(X_T.to(torch.complex64), path), "complex.pt holds torch.complex64"),
    "cut.npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "cut.npy can't be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_noise_is_a_line(folder, name):
    write, said = BROKEN[name]
    write(folder / name)
    with pytest.raises(ValueError, match=said) as error:
        NODE().load(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["gone.npy", "a.txt", "../a.npy", "", 5, "a\0.npy"])
def test_a_name_that_is_none_is_said_before_anything_runs(folder, name):
    (folder / "a.txt").write_text("x")
    assert isinstance(NODE.VALIDATE_INPUTS(name), str)


@pytest.mark.parametrize("ending", [".safetensors", ".latent"])
def test_noise_stays_when_its_file_is_cut_off(tmp_path, ending):
    noise = torch.randn(1, 4, 64, 64)
    path = tmp_path / f"noise{ending}"
    save_file({"latent_tensor": noise}, path)
    read = read_noise(path)
    os.truncate(path, 0)
    assert torch.equal(read, noise)


def test_an_array_that_promises_more_than_memory_holds(tmp_path):
    path = tmp_path / "noise.npy"
    with path.open("wb") as file:
        shape = (1, 4, 1 << 30, 1 << 14)
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with pytest.raises(ValueError, match=r"^noise\.npy can't be read as a \.npy file"):
        read_noise(path)
