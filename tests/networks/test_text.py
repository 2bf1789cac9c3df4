"""Text encoders and prompts: equal to independent implementations, for every layer that clip skip can ask for."""

import math
from dataclasses import replace

import pytest
import torch
from comfyui_ddim.networks import TextConfig, TextTransformer
from comfyui_ddim.networks.loading.open_clip_names import clip_names
from comfyui_ddim.networks.text.encoder import OPEN_CLIP_H
from torch import nn

NARROW = TextConfig(vocabulary=49408, width=32, layers=4, heads=4, inner=96)
NARROW_H = replace(OPEN_CLIP_H, width=32, layers=4, heads=4, inner=96)


def narrow(config: TextConfig, seed: int = 0) -> TextTransformer:
    """A narrow encoder of random weights that no normalisation hides."""
    torch.manual_seed(seed)
    model = TextTransformer(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.normal_(0.0 if "weight" in name and "norm" not in name else 0.5, 0.3)
    return model


def tokens(rows: int = 2) -> torch.Tensor:
    return torch.randint(0, 49406, (rows, 77), generator=torch.Generator().manual_seed(5))


def transformers_s(config: TextConfig):
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = CLIPTextConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.inner,
        hidden_act=config.activation,
        projection_dim=config.width,
    )
    return CLIPTextModel(sizes).eval().requires_grad_(False)


def norm_of(other) -> nn.Module:
    return getattr(other, "text_model", other).final_layer_norm


class Block(nn.Module):
    """One of OpenCLIP's layers, as its publication lays it out: PyTorch's own attention and names."""

    def __init__(self, width, heads, inner):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, inner), "c_proj": nn.Linear(inner, width)})

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        h = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](h * 0.5 * (1 + torch.erf(h / math.sqrt(2))))


class OpenClip(nn.Module):
    """OpenCLIP's text side with the names of a Stable Diffusion 2.x checkpoint below cond_stage_model.model."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.randn(77, config.width))
        self.transformer = nn.Module()
        blocks = (Block(config.width, config.heads, config.inner) for _ in range(config.layers))
        self.transformer.resblocks = nn.ModuleList(blocks)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.randn(config.width, config.width))
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, ids, count):
        x = self.token_embedding(ids) + self.positional_embedding
        mask = torch.full((77, 77), -math.inf).triu(1)
        for block in self.transformer.resblocks[:count]:
            x = block(x, mask)
        return self.ln_final(x)


@pytest.fixture(scope="module")
def open_clip():
    torch.manual_seed(3)
    model = OpenClip(NARROW_H).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.normal_(0.0 if "ln" not in name else 0.5, 0.3)
    return model


@pytest.fixture(scope="module")
def published(open_clip):
    """The tensors as a checkpoint has them, among others."""
    tensors = {f"cond_stage_model.model.{name}": weight for name, weight in open_clip.state_dict().items()}
    return {"model.diffusion_model.out.2.bias": torch.zeros(4), **tensors}


def loaded(tensors) -> TextTransformer:
    prefix = "cond_stage_model.transformer."
    model = TextTransformer(NARROW_H).eval().requires_grad_(False)
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    model.load_state_dict(own, strict=True)
    return model


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_every_layer_equals_transformers(activation):
    config = replace(NARROW, activation=activation)
    ours, other = narrow(config), transformers_s(config)
    names = other.state_dict().keys()  # newer versions leave the first part of each name out
    lone = not any(name.startswith("text_model.") for name in names)
    carried = {name.removeprefix("text_model.") if lone else name: w for name, w in ours.state_dict().items()}
    missing, unexpected = other.load_state_dict(carried, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    ids = tokens()
    theirs = other(ids, output_hidden_states=True)
    assert torch.allclose(ours(ids), theirs.last_hidden_state, atol=1e-6)
    for skip in range(1, config.layers + 1):
        assert torch.allclose(ours(ids, skip), norm_of(other)(theirs.hidden_states[-skip]), atol=1e-6)


def test_full_size_names_and_shapes_are_transformers():
    for config in (TextConfig(), OPEN_CLIP_H):
        with torch.device("meta"):
            ours, other = TextTransformer(config), transformers_s(config)

        def shapes(model):
            return {n.removeprefix("text_model."): list(w.shape) for n, w in model.named_parameters()}

        assert shapes(ours) == shapes(other)


def test_open_clip_s_own_layout_gives_its_own_numbers(open_clip, published):
    ours, ids = loaded(clip_names(published)), tokens()
    for skip in range(1, NARROW_H.layers + 1):
        expected = open_clip(ids, NARROW_H.layers + 1 - skip)
        assert torch.allclose(ours(ids, skip), expected, atol=1e-6)
        assert not torch.allclose(ours(ids, skip % NARROW_H.layers + 1), expected, atol=0.1)


def test_open_clip_s_names_are_those_that_diffusers_gives(published):
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    class Config:
        hidden_size = NARROW_H.width

    class Model:
        config = Config

    theirs = convert_open_clip_checkpoint(Model, published)
    prefix = "cond_stage_model.transformer."
    ours = {n.removeprefix(prefix): t for n, t in clip_names(published).items() if n.startswith(prefix)}
    assert ours.keys() == {name for name in theirs if "text_projection" not in name}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_open_clip_doesn_t_name_stays_as_it_is(published):
    stray = {"cond_stage_model.model.transformer.resblocks.0.extra.weight": torch.zeros(1)}
    names = clip_names({**published, **stray}).keys()
    assert {"model.diffusion_model.out.2.bias", *stray} <= names
    assert not any("text_projection" in name or "logit_scale" in name for name in names)
    sd1 = {"cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.zeros(1)}
    assert clip_names(sd1) == sd1


@pytest.mark.parametrize("shape", [(), (31,), (97, 32)])
def test_a_joined_projection_of_another_shape_is_named(shape):
    name = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"
    with pytest.raises(ValueError, match=r"resblocks\.0\.attn\.in_proj_weight.*shape"):
        clip_names({name: torch.zeros(shape)})


def test_layers_that_a_file_leaves_out_still_count(open_clip, published):
    """Diffusers keeps 23 of the 24 layers of Stable Diffusion 2.x, whose last one nothing reads."""
    whole = loaded(clip_names(published))
    part = TextTransformer(replace(NARROW_H, layers=3, cut=1)).eval()
    part.load_state_dict({n: t for n, t in whole.state_dict().items() if ".layers.3." not in n})
    for skip in (2, 3, 4):
        assert torch.equal(part(tokens(), skip), whole(tokens(), skip))
    assert torch.equal(part(tokens(), 1), whole(tokens(), 2))


def test_a_layer_or_activation_that_there_isn_t():
    with pytest.raises(ValueError, match="skip 5, expected 1 to 4"):
        narrow(NARROW)(tokens(), 5)
    with pytest.raises(ValueError, match="skip 0, expected 1 to 4"):
        narrow(NARROW)(tokens(), 0)
    with pytest.raises(ValueError, match="'relu', expected one of quick_gelu, gelu"):
        TextTransformer(replace(NARROW, activation="relu"))
