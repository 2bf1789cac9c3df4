"""Families: told by tensors alone, whole models of each loaded and compared with diffusers, others named."""

import json
from pathlib import Path

import pytest
import torch
from comfyui_ddim.networks import (
    AutoencoderConfig,
    CheckpointError,
    ControlNet,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNetConfig,
    load_autoencoder,
    load_checkpoint,
    load_controlnet,
    model_config,
    save_controlnet,
)
from safetensors.torch import save_file

LAYOUT = Path(__file__).parents[1] / "reference" / "sd1_layout.txt"
PICTURES = AutoencoderConfig(channels=(32, 32, 32, 32), blocks=1)
NARROW_1 = ModelConfig(
    unet=UNetConfig(channels=(32, 32, 64, 64), context=64, heads=8),
    autoencoder=PICTURES,
    text=TextConfig(vocabulary=20, positions=9, width=64, layers=3, heads=1, inner=128),
)
NARROW_2 = ModelConfig(
    unet=UNetConfig(channels=(64, 64, 128, 128), context=64, head_width=64, linear_projection=True),
    autoencoder=PICTURES,
    text=TextConfig(20, 9, 64, 3, heads=1, inner=128, activation="gelu", skip=2, pad=0),
)
V_TOLD_BY = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


def weights(config: ModelConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in LatentDiffusion(config).state_dict().items()}


def as_open_clip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The text encoder as Stable Diffusion 2.x files have it, joined projections and all."""
    theirs = {}
    text = "cond_stage_model.transformer.text_model."
    own = {name.removeprefix(text): t for name, t in tensors.items() if name.startswith(text)}
    model = "cond_stage_model.model."
    theirs[f"{model}token_embedding.weight"] = own["embeddings.token_embedding.weight"]
    theirs[f"{model}positional_embedding"] = own["embeddings.position_embedding.weight"]
    for end in ("weight", "bias"):
        theirs[f"{model}ln_final.{end}"] = own[f"final_layer_norm.{end}"]
        for i in range(3):
            block, layer = f"{model}transformer.resblocks.{i}.", f"encoder.layers.{i}."
            joined = torch.cat([own[f"{layer}self_attn.{part}_proj.{end}"] for part in "qkv"])
            theirs[f"{block}attn.in_proj_{end}"] = joined
            theirs[f"{block}attn.out_proj.{end}"] = own[f"{layer}self_attn.out_proj.{end}"]
            theirs[f"{block}ln_1.{end}"] = own[f"{layer}layer_norm1.{end}"]
            theirs[f"{block}ln_2.{end}"] = own[f"{layer}layer_norm2.{end}"]
            theirs[f"{block}mlp.c_fc.{end}"] = own[f"{layer}mlp.fc1.{end}"]
            theirs[f"{block}mlp.c_proj.{end}"] = own[f"{layer}mlp.fc2.{end}"]
    theirs[f"{model}text_projection"] = torch.zeros(64, 64)
    theirs[f"{model}logit_scale"] = torch.zeros(())
    return {name: t for name, t in tensors.items() if not name.startswith(text)} | theirs


def saved(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def test_stable_diffusion_1_and_its_inpainting_model(tmp_path):
    tensors = weights(NARROW_1)
    model = load_checkpoint(saved(tensors, tmp_path / "a.safetensors"))
    assert model.config == NARROW_1
    stem = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[stem] = torch.cat([tensors[stem], torch.randn(32, 5, 3, 3)], dim=1)
    inpainting = load_checkpoint(saved(tensors, tmp_path / "b.safetensors"))
    assert (inpainting.config.unet.in_channels, inpainting.config.unet.out_channels) == (9, 4)


@pytest.mark.parametrize(("spread", "channels", "kind"), [(0.08, 4, "eps"), (0.1, 4, "v"), (0.1, 9, "eps")])
def test_stable_diffusion_2_and_what_it_predicts(tmp_path, spread, channels, kind):
    tensors = as_open_clip(weights(NARROW_2))
    bias = torch.randn(64)
    tensors[V_TOLD_BY] = bias / bias.std(correction=0) * spread
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.randn(64, channels, 3, 3)
    model = load_checkpoint(saved(tensors, tmp_path / "a.safetensors"))
    assert model.config.text == NARROW_2.text
    assert model.config.unet.head_width == 64 and model.config.unet.linear_projection
    assert model.parameterization == kind
    own = model.cond_stage_model.transformer.text_model.encoder.layers[1].self_attn.k_proj.weight
    assert torch.equal(own, tensors["cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight"][64:128])


def test_a_joined_projection_of_a_wrong_shape(tmp_path):
    tensors = as_open_clip(weights(NARROW_2))
    tensors["cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight"] = torch.zeros(100, 64)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: tensor '.*1\.attn\.in_proj_weight'.*\[100, 64\]"):
        load_checkpoint(saved(tensors, tmp_path / "a.safetensors"))


def test_a_spread_bias_in_stable_diffusion_1_says_nothing(tmp_path):
    tensors = weights(NARROW_1)
    tensors[V_TOLD_BY] = torch.randn(32)
    assert load_checkpoint(saved(tensors, tmp_path / "a.safetensors")).parameterization == "eps"


def test_full_size_2_is_recognised_from_shapes_alone():
    # The layout of 2.x differs from 1.x in the context's width, linear projections and the text encoder.
    full = ModelConfig(
        unet=UNetConfig(context=1024, head_width=64, linear_projection=True),
        text=TextConfig(width=1024, layers=24, heads=16, inner=4096),
    )
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LatentDiffusion(full).state_dict().items()}
    assert model_config(shapes) == full
    # The published count: 865.91 M.
    assert sum(torch.Size(s).numel() for n, s in shapes.items() if n.startswith("model.")) == 865_910_724


@pytest.mark.parametrize("change", ["sgm", "old transformers", "extra"])
def test_other_names_of_the_same(tmp_path, change):
    tensors = weights(NARROW_1)
    expected = load_checkpoint(saved(tensors, tmp_path / "a.safetensors")).state_dict()
    text = "cond_stage_model.transformer.text_model."
    if change == "extra":
        tensors |= {name: torch.zeros(1) for name in ("model_ema.decay", "first_stage_model.loss.logvar")}
        tensors[f"{text}embeddings.position_ids"] = torch.arange(9)[None]
        tensors["cond_stage_model.logit_scale"] = torch.zeros(1)
    else:
        new = "conditioner.embedders.0.transformer.text_model." if change == "sgm" else "cond_stage_model.transformer."
        tensors = {name.replace(text, new): t for name, t in tensors.items()}
    came = load_checkpoint(saved(tensors, tmp_path / "b.safetensors")).state_dict()
    assert all(torch.equal(came[name], t) for name, t in expected.items())


FOREIGN = {
    "SDXL checkpoint": "conditioner.embedders.1.model.positional_embedding",
    "SDXL refiner": "conditioner.embedders.0.model.transformer.resblocks.31.ln_1.bias",
    "SDXL or unCLIP": "model.diffusion_model.label_emb.0.0.weight",
    "SD3": "model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias",
    "Flux model": "model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale",
    "Flux 2": "single_stream_modulation.lin.weight",
    "Chroma": "distilled_guidance_layer.in_proj.bias",
    "AuraFlow": "double_layers.0.attn.w2q.weight",
    "LTX": "model.diffusion_model.patchify_proj.weight",
    "Wan": "model.diffusion_model.head.modulation",
    "Stable Cascade": "clip_txt_mapper.weight",
    "video": "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.bias",
    "LoRA": "lora_unet_down_blocks_0_attentions_0_proj_in.alpha",
    "text embedding": "string_to_param",
    "ControlNet": "control_model.input_hint_block.0.bias",
    "autoencoder alone": "decoder.conv_in.bias",
    "text encoder alone": "text_model.embeddings.position_embedding.weight",
}


@pytest.mark.parametrize(("kind", "name"), FOREIGN.items())
def test_another_family_is_named(tmp_path, kind, name):
    path = saved({name: torch.zeros(4)}, tmp_path / "v1-5-pruned.safetensors")
    with pytest.raises(CheckpointError, match=f"this looks like an? .*{kind}") as raised:
        load_checkpoint(path)
    assert str(path) in str(raised.value) and name in str(raised.value)


def test_sdxl_s_tensors_beside_a_unet_of_the_same_names(tmp_path):
    tensors = {name: t for name, t in weights(NARROW_2).items() if not name.startswith("cond_stage")}
    tensors["conditioner.embedders.1.model.ln_final.bias"] = torch.zeros(4)
    with pytest.raises(CheckpointError, match=r"SDXL checkpoint .*run with --comfyui"):
        load_checkpoint(saved(tensors, tmp_path / "a.safetensors"))


@pytest.mark.parametrize(("channels", "kind"), [(5, "depth"), (7, "upscaling"), (8, "pix2pix")])
def test_a_unet_with_other_inputs_is_named(tmp_path, channels, kind):
    tensors = weights(NARROW_1)
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, channels, 3, 3)
    with pytest.raises(CheckpointError, match=f"{kind} model .*{channels} channels.*--comfyui"):
        load_checkpoint(saved(tensors, tmp_path / "a.safetensors"))


def test_files_given_to_the_wrong_loader(tmp_path):
    path = saved(weights(NARROW_1), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no tensor"):
        load_controlnet(path)
    save_controlnet(ControlNet(NARROW_1.unet), tmp_path / "control.safetensors")
    with pytest.raises(CheckpointError, match=r"looks like a ControlNet .*use ControlNetLoader"):
        load_autoencoder(tmp_path / "control.safetensors")


def test_metadata_that_is_no_json(tmp_path):
    save_file(weights(NARROW_1), tmp_path / "a.safetensors", {"comfyui_ddim": "{"})
    with pytest.raises(CheckpointError, match="expected JSON"):
        load_checkpoint(tmp_path / "a.safetensors")
    save_file(weights(NARROW_1), tmp_path / "b.safetensors", {"comfyui_ddim": json.dumps([1])})
    with pytest.raises(CheckpointError, match="expected an object"):
        load_checkpoint(tmp_path / "b.safetensors")
