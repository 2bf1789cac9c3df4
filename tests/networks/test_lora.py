"""LoRAs over a model, beside the same model with the products added to its layers' results as they are computed."""

from pathlib import Path

import pytest
import torch
from comfyui_ddim.networks import (
    AutoencoderConfig,
    CheckpointError,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNetConfig,
    load_lora,
    lora_weights,
    with_loras,
)
from comfyui_ddim.networks.loading.diffusers_names import diffusers_unet_names, published_names
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import save_file
from torch import nn

UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer."
SIZES = ModelConfig(
    unet=UNetConfig(channels=(32, 64), blocks=2, attention=(True, False), context=64, heads=4),
    autoencoder=AutoencoderConfig(channels=(32, 32), blocks=1),
    text=TextConfig(width=64, layers=2, heads=4, inner=128),
)
LINEAR_2 = UNetConfig(
    channels=(32, 64, 64), blocks=1, attention=(False, True, True), context=64, linear_projection=True
)


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(SIZES).eval().requires_grad_(False)


def layers(model: LatentDiffusion, prefix: str) -> dict[str, nn.Module]:
    """Linear layers and convolutions of a part, by the names of published checkpoints."""
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    return {name.removeprefix(prefix): layer for name, layer in found.items() if name.startswith(prefix)}


def diffusers_names(model: LatentDiffusion) -> dict[str, str]:
    """{published name of a layer of the UNet: diffusers' own converter's}."""
    marked = {f"{UNET}{n}": torch.tensor(float(i)) for i, n in enumerate(model.model.diffusion_model.state_dict())}
    names = list(model.model.diffusion_model.state_dict())
    converted = convert_ldm_unet_checkpoint(marked, {"layers_per_block": SIZES.unet.blocks, "class_embed_type": None})
    return {names[int(i)].rpartition(".")[0]: name.rpartition(".")[0] for name, i in converted.items()}


def factors(layer: nn.Module, seed: int, rank: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """(up, down) of a layer."""
    g, (rows, columns, *kernel) = torch.Generator().manual_seed(seed), layer.weight.shape
    up = torch.randn(rows, rank, *(1 for _ in kernel), generator=g)
    return up, torch.randn(rank, columns, *kernel, generator=g) / layer.weight[0].numel() ** 0.5


SPELLINGS = {
    "kohya": lambda d, p: (f"lora_unet_{d.replace('.', '_')}", ".lora_up.weight", ".lora_down.weight"),
    "kohya, published names": lambda d, p: (f"lora_unet_{p.replace('.', '_')}", ".lora_up.weight", ".lora_down.weight"),
    "lycoris": lambda d, p: (f"lycoris_{d.replace('.', '_')}", ".lora_up.weight", ".lora_down.weight"),
    "PEFT": lambda d, p: (f"unet.{d}", ".lora_B.weight", ".lora_A.weight"),
    "PEFT, bare": lambda d, p: (f"base_model.model.{d}", ".lora_B.default.weight", ".lora_A.default.weight"),
    "diffusers": lambda d, p: (f"unet.{d}", ".lora.up.weight", ".lora.down.weight"),
    "ComfyUI": lambda d, p: (f"diffusion_model.{p}", ".lora_B.weight", ".lora_A.weight"),
}
TEXT_SPELLINGS = {
    "kohya": lambda p: (f"lora_te_{p.replace('.', '_')}", ".lora_up.weight", ".lora_down.weight"),
    "kohya, first of two": lambda p: (f"lora_te1_{p.replace('.', '_')}", ".lora_up.weight", ".lora_down.weight"),
    "PEFT": lambda p: (f"text_encoder.{p}", ".lora_B.weight", ".lora_A.weight"),
    "diffusers": lambda p: (f"text_encoder.{p}", ".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    "transformers' today": lambda p: (
        f"text_encoder.{p.removeprefix('text_model.')}",
        ".lora_B.weight",
        ".lora_A.weight",
    ),
}


def saved(tensors: dict[str, torch.Tensor], folder: Path, name: str = "a.safetensors") -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    return folder / name


def predicted(model: LatentDiffusion) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    x, text = torch.randn(2, 4, 8, 8, generator=g), torch.randn(1, 9, 64, generator=g)
    return model.apply_model(x, torch.tensor([3, 700]), text)


def encoded(model: LatentDiffusion) -> torch.Tensor:
    return model.cond_stage_model.transformer(torch.arange(9)[None])


def with_products(model, prefix, made, scale, call):
    """What `call` gives while each layer adds scale * up(down(x)) to its result, as a trainer has it."""

    def adding(layer, up, down):
        def hook(_, given, result):
            if isinstance(layer, nn.Linear):
                return result + scale * (given[0] @ down.flatten(1).T @ up.flatten(1).T)
            small = nn.functional.conv2d(given[0], down, None, layer.stride, layer.padding)
            return result + scale * nn.functional.conv2d(small, up)

        return layer.register_forward_hook(hook)

    own = layers(model, prefix)
    handles = [adding(own[name], *pair) for name, pair in made.items()]
    try:
        return call(model)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_every_layer_of_the_unet_in_every_spelling(model, tmp_path, spelling):
    named, tensors, made = diffusers_names(model), {}, {}
    for i, (name, layer) in enumerate(layers(model, UNET).items()):
        made[name] = up, down = factors(layer, i)
        key, ending_up, ending_down = spelling(named[name], name)
        tensors |= {key + ending_up: up, key + ending_down: down, f"{key}.alpha": torch.tensor(1.5)}
    lora = load_lora(saved(tensors, tmp_path))
    assert len(lora_weights(model, lora, "unet")) == len(made) and not lora_weights(model, lora, "text")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours, plain = predicted(with_loras(model, [(lora, 0.1)], "unet")), predicted(model)
    wanted = with_products(model, UNET, made, 0.1 * 1.5 / 3, predicted)
    assert (ours - wanted).abs().max() <= 1e-4 * wanted.abs().max() < 1e-2 * (wanted - plain).abs().max()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_diffusers_processors(model, tmp_path):
    """The attention layers, as diffusers' first LoRA trainer named them."""
    named, tensors, made = diffusers_names(model), {}, {}
    for i, (name, layer) in enumerate(layers(model, UNET).items()):
        if ".attn" in name:
            made[name] = factors(layer, i)
            place, _, own = named[name].removesuffix(".0").rpartition(".")
            for tensor, which in zip(made[name], ("up", "down"), strict=True):
                tensors[f"unet.{place}.processor.{own}_lora.{which}.weight"] = tensor
    assert any("to_out_lora" in name for name in tensors)
    ours = predicted(with_loras(model, [(load_lora(saved(tensors, tmp_path)), 0.1)], "unet"))
    wanted = with_products(model, UNET, made, 0.1, predicted)
    assert (ours - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("spelling", TEXT_SPELLINGS.values(), ids=TEXT_SPELLINGS)
def test_every_layer_of_the_text_encoder_in_every_spelling(model, tmp_path, spelling):
    tensors, made = {}, {}
    for i, (name, layer) in enumerate(layers(model, TEXT).items()):
        made[name] = up, down = factors(layer, i)
        key, ending_up, ending_down = spelling(name)
        tensors |= {key + ending_up: up, key + ending_down: down}
    lora = load_lora(saved(tensors, tmp_path))
    assert len(lora_weights(model, lora, "text")) == len(made) and not lora_weights(model, lora, "unet")
    ours, plain = encoded(with_loras(model, [(lora, -0.2)], "text")), encoded(model)
    wanted = with_products(model, TEXT, made, -0.2, encoded)
    assert (ours - wanted).abs().max() <= 1e-4 * wanted.abs().max() < 1e-2 * (wanted - plain).abs().max()


def test_several_add_up_and_share_what_they_leave_alone(model, tmp_path):
    name = "input_blocks.1.1.transformer_blocks.0.attn2.to_k"
    layer, loras = layers(model, UNET)[name], []
    for i in range(2):
        up, down = factors(layer, i)
        path = saved(
            {f"diffusion_model.{name}.lora_B.weight": up, f"diffusion_model.{name}.lora_A.weight": down}, tmp_path
        )
        loras.append((load_lora(path), 0.5 + i))
    both, model_state = with_loras(model, loras, "unet"), model.state_dict()
    wanted = layer.weight.clone()
    for i, (_, strength) in enumerate(loras):
        up, down = factors(layer, i)
        wanted += strength * up @ down
    assert torch.allclose(layers(both, UNET)[name].weight, wanted, atol=1e-5)
    for key, tensor in both.state_dict().items():
        assert (tensor.data_ptr() == model_state[key].data_ptr()) == (key != f"{UNET}{name}.weight")
    assert with_loras(model, [], "unet") is model


def test_half_precision_is_rounded_once(model, tmp_path):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    half = LatentDiffusion(SIZES).eval().requires_grad_(False).bfloat16()
    layer = layers(half, UNET)["middle_block.1.proj_in"]
    up, down = factors(layer, 0)
    lora = load_lora(saved({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, tmp_path))
    changed = layers(with_loras(half, [(lora, 0.003)] * 50, "unet"), UNET)["middle_block.1.proj_in"].weight
    wanted = layer.weight.double() + 50 * 0.003 * torch.einsum("orhw,rihw->oihw", up.double(), down.double())
    assert changed.dtype == torch.bfloat16
    assert (changed - wanted).abs().le(wanted.abs() * 2**-8 * 1.01 + 1e-6).all()  # half a unit in the last place


def test_a_kernel_in_three_parts(model, tmp_path):
    """LoCon's, for 3 x 3 convolutions: 1 x 1, 3 x 3, 1 x 1, one after the other."""
    name, key = "input_blocks.1.0.in_layers.2", "lora_unet_down_blocks_0_resnets_0_conv1"
    layer, g = layers(model, UNET)[name], torch.Generator().manual_seed(0)
    rows, columns = layer.weight.shape[:2]
    up, mid, down = (torch.randn(s, generator=g) for s in ((rows, 3, 1, 1), (3, 3, 3, 3), (3, columns, 1, 1)))
    parts = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down}
    lora = load_lora(saved({f"{key}.{part}": tensor for part, tensor in parts.items()}, tmp_path))
    changed = layers(with_loras(model, [(lora, 0.1)], "unet"), UNET)[name]
    x = torch.randn(1, columns, 6, 5, generator=g)
    conv = nn.functional.conv2d
    wanted = layer(x) + 0.1 * conv(conv(conv(x, down), mid, padding=1), up)
    assert torch.allclose(changed(x), wanted, atol=1e-3)


@pytest.mark.parametrize("config", [SIZES.unet, LINEAR_2], ids=["two blocks", "one block"])
def test_diffusers_names_are_the_published_ones_turned_round(config):
    from comfyui_ddim.networks import UNet

    with torch.device("meta"):
        names = list(UNet(config).state_dict())
    theirs = diffusers_unet_names(names, config.blocks, config.attention)
    assert published_names(theirs.values()) == {other: name for name, other in theirs.items()}
    assert len(set(theirs.values())) == len(names)


KEY = "lora_unet_mid_block_attentions_0_proj_in"
MID = {f"{KEY}.lora_up.weight": torch.ones(64, 2, 1, 1), f"{KEY}.lora_down.weight": torch.ones(2, 64, 1, 1)}
BAD = {
    "half": (
        {f"{KEY}.lora_up.weight": torch.ones(64, 2)},
        "layer 'mid_block_attentions_0_proj_in' has no 'down' matrix",
    ),
    "nothing": ({"weight": torch.ones(3)}, "no LoRA in it"),
    "NaN": (MID | {f"{KEY}.lora_up.weight": torch.full((64, 2), torch.nan)}, "'up' of torch.float32, expected finite"),
    "integers": (MID | {f"{KEY}.lora_down.weight": torch.ones(2, 64).int()}, "'down' of torch.int32, expected finite"),
    "dimensions": (MID | {f"{KEY}.lora_up.weight": torch.ones(64)}, "'up' of shape .64., expected 2 or 4 dimensions"),
    "alpha": (MID | {f"{KEY}.alpha": torch.ones(2)}, "alpha of shape .2., expected one number"),
    "LoHa": ({f"{KEY}.hada_w1_a": torch.ones(2, 2)}, "LoHa .*expected plain LoRA: run with --comfyui"),
    "LoKr": ({f"{KEY}.lokr_w1": torch.ones(2, 2)}, "LoKr .*expected plain LoRA: run with --comfyui"),
    "DoRA": (MID | {f"{KEY}.dora_scale": torch.ones(64)}, "DoRA .*expected plain LoRA: run with --comfyui"),
    "twice": (MID | {f"{KEY.replace('lora_unet', 'lycoris')}.lora_up.weight": torch.ones(64, 2)}, "two tensors for"),
}


@pytest.mark.parametrize(("tensors", "words"), BAD.values(), ids=BAD)
def test_what_is_no_whole_lora_is_named(tmp_path, tensors, words):
    path = saved(tensors, tmp_path, "bad.safetensors")
    with pytest.raises(CheckpointError, match=words) as raised:
        load_lora(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize("shapes", [((64, 2), (2, 32)), ((32, 2), (2, 64)), ((64, 2), (3, 64)), ((64, 0), (0, 64))])
def test_another_family_s_sizes_are_named(model, tmp_path, shapes):
    up, down = (torch.ones(shape) for shape in shapes)
    lora = load_lora(
        saved({f"{KEY}.lora_up.weight": up, f"{KEY}.lora_down.weight": down}, tmp_path, "other.safetensors")
    )
    with pytest.raises(ValueError, match=r"^other\.safetensors: layer .* for another kind of model$"):
        lora_weights(model, lora, "unet")


def test_sums_beyond_half_precision_are_named(tmp_path):
    lora = load_lora(saved({name: 300 * tensor for name, tensor in MID.items()}, tmp_path))
    half = LatentDiffusion(SIZES).half()
    with pytest.raises(ValueError, match=r"^a\.safetensors: a weight and the LoRA are infinite as torch\.float16"):
        with_loras(half, [(lora, 1.0)], "unet")
