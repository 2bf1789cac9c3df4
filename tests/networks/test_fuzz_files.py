"""Files of which anything may be wrong: a model, an embedding, an image, or one line; in bounded time and memory.

`FUZZ=1500` makes as many examples of each kind; a short run is always part of the tests.
"""

import json
import os
import pickle
import resource

import pytest
import torch
from comfyui_ddim.networks import LatentDiffusion, load_autoencoder, load_checkpoint, load_controlnet
from comfyui_ddim.networks.loading.checkpoint import save_checkpoint
from comfyui_ddim.networks.loading.facts import RULES
from comfyui_ddim.networks.text.textual_inversion import find_vectors
from comfyui_ddim.nodes.picture_reading import read_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_files import NARROW, write_folder

EXAMPLES = int(os.environ.get("FUZZ", "12"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=10_000,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
GIB = 2**30
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 2, 4, 8, 64, 1000, 0.1, 0.01, 2**31, 2**63])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.sampled_from(["gelu", "quick_gelu", "v", "eps"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9), st.integers(0, 9)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A narrow model in every form, an embedding, and a picture of each format."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    model = LatentDiffusion(NARROW)
    save_checkpoint(model, folder / "whole.safetensors")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, folder / "whole.ckpt")
    torch.save({"string_to_token": {"*": 5}, "string_to_param": {"*": torch.randn(2, 64)}}, folder / "whole.pt")
    save_file({"emb_params": torch.randn(2, 64)}, folder / "embedding.safetensors")
    write_folder(model, folder / "diffusers", "epsilon", ".safetensors")
    frames = [Image.new("RGB", (9, 7), (i, 0, 0)) for i in range(3)]
    for ending in ("png", "gif", "webp", "tif", "jpg"):
        frames[0].save(
            folder / f"whole.{ending}", **({"save_all": True, "append_images": frames[1:]} if ending != "jpg" else {})
        )
    return folder


@pytest.fixture(autouse=True)
def _no_more_than_a_gibibyte():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GIB


def edited(content: bytes, edits) -> bytes:
    """Some bytes put in, over or out, mostly where the format says something about itself: at both ends."""
    for place, new, removed in edits:
        at = int(place**4 * len(content)) if removed % 2 else len(content) - int(place**4 * len(content))
        content = content[:at] + new + content[at + removed :]
    return content


def a_line(call) -> object:
    """What a call gives, or None where it raises a ValueError of one line; anything else fails."""
    try:
        return call()
    except ValueError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 5000
        return None


@FUZZ
@given(facts=st.dictionaries(st.sampled_from(sorted(RULES)) | st.text(max_size=5), JSON, min_size=1, max_size=4))
def test_facts(folder, facts):
    path = folder / "facts.safetensors"
    with safe_open(folder / "whole.safetensors", "pt") as file:
        known = json.loads(file.metadata()["comfyui_ddim"])
    save_file(load_file(folder / "whole.safetensors"), path, {"comfyui_ddim": json.dumps(known | facts)})
    model = a_line(lambda: load_checkpoint(path))
    if model is not None:
        text = torch.zeros(1, 9, 64)
        assert (
            model.apply_model(torch.zeros(1, 4, 8, 8), torch.tensor([model.num_timesteps - 1]), text).isfinite().all()
        )
        a_line(lambda: model.encode_text(["a"]))


@FUZZ
@given(edits=EDITS, name=st.sampled_from(["whole.safetensors", "whole.ckpt", "whole.pt"]))
def test_bytes_of_checkpoints(folder, edits, name):
    path = folder / f"edited{name[5:]}"
    path.write_bytes(edited((folder / name).read_bytes(), edits))
    for load in (load_checkpoint, load_autoencoder, load_controlnet):
        a_line(lambda load=load: load(path))


@FUZZ
@given(
    file=st.sampled_from(
        ["unet/config", "vae/config", "text_encoder/config", "scheduler/scheduler_config", "model_index"]
    ),
    data=st.data(),
)
def test_configurations_of_folders(folder, file, data):
    path = folder / "diffusers" / f"{file}.json"
    before = path.read_bytes()
    try:
        known = json.loads(before)
        changes = data.draw(st.dictionaries(st.sampled_from(sorted(known)), JSON, min_size=1, max_size=3))
        path.write_text(json.dumps(known | changes), encoding="utf-8")
        a_line(lambda: load_checkpoint(folder / "diffusers"))
        path.write_bytes(edited(before, data.draw(EDITS)))
        a_line(lambda: load_checkpoint(folder / "diffusers"))
    finally:
        path.write_bytes(before)


@FUZZ
@given(edits=EDITS, name=st.sampled_from(["whole.pt", "embedding.safetensors"]))
def test_bytes_of_embeddings(folder, edits, name):
    (folder / "embeddings").mkdir(exist_ok=True)
    path = folder / "embeddings" / name
    path.write_bytes(edited((folder / name).read_bytes(), edits))
    found = a_line(lambda: find_vectors(path.stem, [path.parent], 64))
    assert found is None or (found.shape[1] == 64 and found.isfinite().all())


@FUZZ
@given(content=JSON, protocol=st.integers(0, 5))
def test_pickles_of_anything(folder, content, protocol):
    (folder / "pickles").mkdir(exist_ok=True)
    path = folder / "pickles" / "a.pt"
    path.write_bytes(pickle.dumps({"state_dict": content}, protocol))
    assert a_line(lambda: load_checkpoint(path)) is None
    assert a_line(lambda: find_vectors("a", [path.parent], 64)) is None
    torch.save(content, path)
    assert a_line(lambda: load_checkpoint(path)) is None
    assert a_line(lambda: find_vectors("a", [path.parent], 64)) is None


@FUZZ
@given(edits=EDITS, ending=st.sampled_from(["png", "gif", "webp", "tif", "jpg"]))
def test_bytes_of_images(folder, edits, ending):
    path = folder / "edited"
    path.write_bytes(edited((folder / f"whole.{ending}").read_bytes(), edits))
    frames = a_line(lambda: list(read_frames(path, "edited")))
    assert frames is None or all(frame.width * frame.height for frame in frames)
