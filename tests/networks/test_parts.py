"""Parts of checkpoints: what is there is given, a missing one is an error once used; stray names; every fact."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.networks import CheckpointError, LatentDiffusion, load_checkpoint
from comfyui_ddim.networks.loading.averaged_names import averaged_unet
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_files import NARROW, same, write_folder

UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
LAYOUT = Path(__file__).parents[1] / "reference" / "sd1_layout.txt"


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(NARROW).eval().requires_grad_(False)


@pytest.fixture
def tensors(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


USES = {
    UNET: (lambda m: m.apply_model(torch.zeros(1, 4, 8, 8), torch.zeros(1).long(), torch.zeros(1, 9, 64)), "UNet"),
    AUTOENCODER: (lambda m: m.decode_latent(torch.zeros(1, 4, 8, 8)), "autoencoder"),
    TEXT: (lambda m: m.encode_tokens([[[(0, 1.0)] * 9]]), "text encoder"),
}


def check_parts(loaded: LatentDiffusion, model: LatentDiffusion, there: set[str], name: str) -> None:
    """What is there is the model's, and can be used; what isn't says so, with the file's name and what helps."""
    expected = {n: t for n, t in model.state_dict().items() if n.startswith(tuple(there))}
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[n], t) for n, t in expected.items())
    for prefix, (use, part) in USES.items():
        if prefix in there:
            use(loaded)
        else:
            with pytest.raises(ValueError, match=f"{name} has no {part}: (load one|take)"):
                use(loaded)


@pytest.mark.parametrize(
    "there", [{UNET}, {UNET, TEXT}, {UNET, AUTOENCODER}, {AUTOENCODER, TEXT}], ids=lambda there: " ".join(sorted(there))
)
def test_what_is_there_is_given(model, tensors, tmp_path, there):
    save_file({n: t for n, t in tensors.items() if n.startswith(tuple(there))}, tmp_path / "a.safetensors")
    check_parts(load_checkpoint(tmp_path / "a.safetensors"), model, there, "a.safetensors")


@pytest.mark.parametrize("layout", ["published", "diffusers", "moving average"])
def test_a_unet_alone(model, tensors, tmp_path, layout):
    own = {name.removeprefix(UNET): t for name, t in tensors.items() if name.startswith(UNET)}
    if layout == "diffusers":
        own = convert_ldm_unet_checkpoint(tensors, {"layers_per_block": 1, "class_embed_type": None})
    elif layout == "moving average":
        own = {"model_ema.diffusion_model" + name.replace(".", ""): t for name, t in own.items()}
        own |= {"model_ema.decay": torch.zeros(()), "model_ema.num_updates": torch.zeros((), dtype=torch.int64)}
    save_file({name: t.contiguous() for name, t in own.items()}, tmp_path / "a.safetensors")
    check_parts(load_checkpoint(tmp_path / "a.safetensors"), model, {UNET}, "a.safetensors")


def test_the_moving_average_beside_the_weights_is_not_used(model, tensors, tmp_path):
    own = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith(UNET)}
    save_file(tensors | {f"model_ema.{n.replace('.', '')}": t + 1 for n, t in own.items()}, tmp_path / "a.safetensors")
    assert same(load_checkpoint(tmp_path / "a.safetensors"), model)


def test_names_of_the_moving_average_of_the_published_model():
    """Each name of Stable Diffusion 1's UNet, out of what is left of it without its dots."""
    names = [line.split()[0] for line in LAYOUT.read_text().splitlines() if line.startswith(UNET)]
    assert len(names) == 686
    dotless = {"model_ema." + name.removeprefix("model.").replace(".", ""): name for name in names}
    assert averaged_unet(dotless, UNET) == {name: name for name in names}


@pytest.mark.parametrize("absent", ["vae", "text_encoder"])
@pytest.mark.parametrize("said", ["null", "not named"])
def test_diffusers_folders_without_a_part(model, tmp_path, absent, said):
    write_folder(model, tmp_path, "epsilon", ".safetensors")
    shutil.rmtree(tmp_path / absent)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index[absent] = [None, None]
    if said == "not named":
        del index[absent]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    there = {UNET, TEXT} if absent == "vae" else {UNET, AUTOENCODER}
    check_parts(load_checkpoint(tmp_path), model, there, tmp_path.name)


STRAY = {
    "cond_stage_model.model.text_projection": torch.zeros(2, 2),
    "cond_stage_model.model.logit_scale": torch.zeros(()),
    "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.zeros(1, 9, dtype=torch.int64),
    "cond_stage_model.logit_scale": torch.zeros(()),
    "model_ema.decay": torch.zeros(()),
    "lora_te_x": torch.zeros(2),
    "alphas_cumprod": torch.zeros(1000),
    "loss.logvar": torch.zeros(()),
}


@pytest.mark.parametrize("name", STRAY)
def test_a_stray_name_changes_nothing(model, tensors, tmp_path, name):
    save_file(tensors | {name: STRAY[name]}, tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert same(loaded, model)
    assert loaded.config.text == NARROW.text


@pytest.mark.parametrize("beside", [{}, {"lora_te_x": torch.zeros(2)}, {"emb_params": torch.zeros(2)}])
def test_a_tensor_that_the_network_has_no_place_for_is_named(tensors, tmp_path, beside):
    save_file(tensors | beside | {f"{UNET}foo.weight": torch.zeros(3, 3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"1 unexpected tensors, the first 'model\.diffusion_model\.foo\.weight'"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_two_tensors_for_one_place_are_named(tensors, tmp_path):
    name = f"{TEXT}transformer.text_model.final_layer_norm.bias"
    also = f"{TEXT}transformer.final_layer_norm.bias"
    save_file(tensors | {also: tensors[name] + 1}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=rf"two tensors for '{name}'"):
        load_checkpoint(tmp_path / "a.safetensors")


SHIPPED_FACTS = {"unet_heads", "text_heads", "text_activation", "text_skip", "text_cut", "text_pad", "vocabulary"}
SHIPPED_FACTS |= {"parameterization", "scale_factor", "timesteps", "beta_start", "beta_end"}
ANYTHING = [
    None,
    True,
    0,
    -1,
    1.5,
    3,
    10**12,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    [1],
    ["a"] * 9,
    {},
    {"a": 1},
]


@pytest.fixture(scope="module")
def shipped():
    with safe_open(SHIPPED, "pt") as file:
        facts = json.loads(file.metadata()["comfyui_ddim"])
    assert set(facts) <= SHIPPED_FACTS
    return load_file(SHIPPED), facts


@pytest.mark.parametrize("name", sorted(SHIPPED_FACTS | {"unet_head_width"}))
def test_each_fact_of_the_metadata_is_checked(shipped, tmp_path, name):
    """Whatever a fact says, it is either one line with its name, or a model that works."""
    tensors, facts = shipped
    refused = 0
    for i, value in enumerate(ANYTHING):
        changed = {key: fact for key, fact in facts.items() if name != "unet_head_width" or key != "unet_heads"}
        path = tmp_path / f"{i}.safetensors"
        save_file(tensors, path, {"comfyui_ddim": json.dumps(changed | {name: value})})
        try:
            model = load_checkpoint(path)
        except CheckpointError as error:
            assert str(path) in str(error) and name in str(error) and "expected" in str(error)
            assert "\n" not in str(error) and len(str(error)) < 400
            refused += 1
        else:
            if (name, value) == ("vocabulary", []):  # then CLIP's words are read, if there are as many ids
                with pytest.raises(ValueError, match="vocabulary has 32 ids"):
                    model.encode_text(["a red cube"])
                continue
            text = model.encode_text(["a red cube"])
            x = torch.randn(1, 4, 8, 8)
            assert model.apply_model(x, torch.tensor([model.num_timesteps - 1]), text).isfinite().all()
            assert model.decode_latent(x).isfinite().all()
            assert 0 < model.alphas_cumprod.min() <= model.alphas_cumprod.max() < 1
        path.unlink()
    assert refused >= 10


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "[" * 100_000, '"x"', "NaN", "9" * 5000])
def test_metadata_of_another_kind(shipped, tmp_path, text):
    save_file(shipped[0], tmp_path / "a.safetensors", {"comfyui_ddim": text})
    with pytest.raises(CheckpointError, match=r"a\.safetensors: metadata 'comfyui_ddim': ") as raised:
        load_checkpoint(tmp_path / "a.safetensors")
    assert "\n" not in str(raised.value)


CONFIGS = {
    "unet/config.json": ("attention_head_dim", "num_attention_heads", "block_out_channels"),
    "vae/config.json": ("scaling_factor",),
    "text_encoder/config.json": ("num_attention_heads", "hidden_act"),
    "scheduler/scheduler_config.json": (
        "prediction_type",
        "beta_schedule",
        "num_train_timesteps",
        "beta_start",
        "beta_end",
    ),
}


@pytest.mark.parametrize("file", CONFIGS)
def test_each_fact_of_a_diffusers_folder_is_checked(model, tmp_path, file):
    write_folder(model, tmp_path, "epsilon", ".safetensors")
    path = tmp_path / file
    before = json.loads(path.read_text())
    refused = 0
    for name in CONFIGS[file]:
        for value in ANYTHING:
            path.write_text(json.dumps(before | {name: value}))
            try:
                load_checkpoint(tmp_path)
            except CheckpointError as error:
                assert str(tmp_path) in str(error) and "expected" in str(error) and "\n" not in str(error)
                refused += 1
    assert refused >= 10 * len(CONFIGS[file]) - (12 if file == "unet/config.json" else 0)
    for text in ("", "[]", "5", "[" * 100_000, "\x00"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=f"{path.name}: "):
            load_checkpoint(tmp_path)
