"""Prompts as ComfyUI reads them: beside numbers that it gave, beside itself where it is at hand, and in closed form."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.hosts.standalone.clip import Clip
from comfyui_ddim.hosts.standalone.host import StandaloneHost
from comfyui_ddim.networks import (
    AutoencoderConfig,
    CheckpointError,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNetConfig,
    load_checkpoint,
)
from comfyui_ddim.networks.text import clip_tokenizer
from comfyui_ddim.networks.text.clip_tokenizer import ClipTokenizer
from comfyui_ddim.networks.text.encoder import OPEN_CLIP_H
from comfyui_ddim.networks.text.prompt import tokenize, weighted
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

needs_comfyui = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

# What ComfyUI 0.3.64 made of prompts, and of narrow encoders with the weights of `model`.
REFERENCE = Path(__file__).parents[1] / "reference"
RECORDED = json.loads((REFERENCE / "comfyui_prompts.json").read_text(encoding="utf-8"))
ENCODED = REFERENCE / "comfyui_text.npz"

WIDTH = 32
CONFIGS = {
    "l": TextConfig(width=WIDTH, layers=4, heads=4, inner=96),
    "h": replace(OPEN_CLIP_H, width=WIDTH, layers=4, heads=4, inner=96),
}
PROMPTS = [
    "",
    "a photo of an astronaut, riding a horse",
    "a (red:1.3) sphere, ((soft) light), (not this:0.4), \\(really\\) (gone:0) (away:-0.5)",
    " ".join(["(a long prompt with many words:1.2), that goes on and on,"] * 12),
    "(the) embedding:first, and (embedding:second:1.4) embedding:missing, end 🚀 一只猫",
]
LAYERS = [None, -1, -2, -4]
PIECES = [
    "a",
    "red cat",
    "(",
    ")",
    "\\(",
    "\\)",
    "\\",
    ":1.2)",
    ":",
    "1.1",
    ":x)",
    "\n",
    " ",
    ",",
    "(word:1.3)",
    "one " * 9,
]


@pytest.fixture(scope="module", params=["l", "h"])
def model(request) -> LatentDiffusion:
    """A narrow model of either family, of weights that are the same everywhere."""
    sizes = {"channels": (32, 32), "blocks": 1}
    unet = UNetConfig(**sizes, attention=(False, True), context=WIDTH, heads=4)
    config = ModelConfig(unet, AutoencoderConfig(**sizes), CONFIGS[request.param])
    model = LatentDiffusion(config).eval().requires_grad_(False)
    draw = np.random.default_rng(7)
    for name, weight in sorted(model.cond_stage_model.transformer.named_parameters()):
        values = draw.normal(float("norm" in name and "weight" in name), 0.3, weight.shape)
        weight.copy_(torch.from_numpy(values.astype(np.float16)))  # ComfyUI keeps text encoders in it
    return model


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory) -> Path:
    """Two embeddings, of one vector and of three, in files as they go round."""
    folder = tmp_path_factory.mktemp("embeddings")
    vectors = torch.from_numpy(np.random.default_rng(8).normal(size=(4, WIDTH)).astype(np.float32))
    save_file({"emb_params": vectors[:1]}, folder / "first.safetensors")
    (folder / "below").mkdir()
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors[1:]}}, folder / "below" / "second.pt")
    return folder


@pytest.fixture(scope="module")
def clip(model, embeddings) -> Clip:
    return Clip(model, lambda: [embeddings])


def encoded(clip, prompt: str, layer: int | None = None) -> torch.Tensor:
    clip = clip.clone()
    if layer is not None:
        clip.clip_layer(layer)
    ((cond, _),) = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    return cond


def name_of(model) -> str:
    return next(name for name, config in CONFIGS.items() if config == model.config.text)


# --- beside ComfyUI


@pytest.fixture(scope="module")
def theirs(comfy, model, embeddings):
    """ComfyUI's CLIP of a narrow model's text encoder, with its own tokenizer."""
    text, name = model.config.text, name_of(model)
    sizes = {
        "num_hidden_layers": text.layers,
        "hidden_size": text.width,
        "num_attention_heads": text.heads,
        "intermediate_size": text.inner,
        "hidden_act": text.activation,
        "max_position_embeddings": text.positions,
        "eos_token_id": 49407,
    }
    own = {"special_tokens": {"start": 49406, "end": 49407, "pad": 0}, "layer": "hidden", "layer_idx": -2}
    encoder = partial(comfy.sd1_clip.SDClipModel, textmodel_json_config=sizes, **(own if name == "h" else {}))
    key = f"clip_{name}"
    tokenizer = partial(
        comfy.sd1_clip.SDTokenizer, pad_with_end=name == "l", embedding_size=text.width, embedding_key=key
    )
    target = comfy.supported_models_base.ClipTarget(
        partial(comfy.sd1_clip.SD1Tokenizer, clip_name=name, tokenizer=tokenizer),
        partial(comfy.sd1_clip.SD1ClipModel, clip_name=name, clip_model=encoder),
    )
    clip = comfy.sd.CLIP(target, embedding_directory=[str(embeddings)])
    clip.load_sd(model.cond_stage_model.transformer.state_dict())
    return clip


@needs_comfyui
def test_encodings_are_comfyui_s(clip, theirs):
    for prompt in PROMPTS:
        for layer in LAYERS:
            assert torch.allclose(encoded(clip, prompt, layer), encoded(theirs, prompt, layer), atol=1e-5), prompt


@needs_comfyui
@settings(deadline=None, max_examples=300)
@given(prompt=st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text())
def test_any_prompt_s_tokens_are_comfyui_s(clip, theirs, prompt):
    assert clip.tokenize(prompt) == theirs.tokenize(prompt)


@needs_comfyui
def test_the_recorded_numbers_are_comfyui_s(clip, theirs, model):
    name = name_of(model)
    for entry in RECORDED:
        assert unpacked(entry, name) == theirs.tokenize(entry["prompt"])[name]
    with np.load(ENCODED) as numbers:
        for i, layer, key in encodings(name):
            assert np.allclose(sampled(encoded(theirs, PROMPTS[i], layer)), numbers[key], atol=1e-5)


@needs_comfyui
def test_the_shipped_model_reads_a_prompt_alike_in_both_hosts(comfy):
    from comfyui_ddim.hosts.comfyui.host import ComfyHost

    prompts = ["a (red:1.3) sphere", "((large) cube:0.7) under a \\(blue\\) sky", "red " * 100 + "(cube:1.5)"]
    with using(Context(device="cpu")), torch.inference_mode():
        clips = [host.load_checkpoint(SHIPPED.name)[1] for host in (StandaloneHost(), ComfyHost())]
        for prompt in prompts:
            for layer in (None, -1, -2, -24):
                ours, other = (encoded(clip, prompt, layer) for clip in clips)
                assert torch.allclose(ours, other, atol=1e-5)
                assert not torch.allclose(ours, encoded(clips[1], prompt.replace("(", "").replace(")", "")), atol=1e-2)


# --- beside what ComfyUI gave


def unpacked(entry: dict, name: str) -> list[list[tuple[int, float]]]:
    """Rows of (id, weight): a recorded row lacks its padding, and the weights that are 1."""
    pad = {"l": 49407, "h": 0}[name]
    rows = []
    for row in entry["rows"]:
        ids = row["ids"] + [pad] * (77 - len(row["ids"]))
        rows.append([(token, row["weights"].get(str(i), 1.0)) for i, token in enumerate(ids)])
    return rows


def encodings(name: str) -> list[tuple[int, int | None, str]]:
    """(prompt's number, layer, name of the recorded array)."""
    return [(i, layer, f"{name}{i}{layer or ''}") for i in range(len(PROMPTS)) for layer in LAYERS]


def sampled(cond: torch.Tensor) -> np.ndarray:
    """A part of a conditioning that is small enough to keep, of every token and over time of every channel."""
    return cond.flatten()[::13].numpy()


@pytest.mark.parametrize("name", ["l", "h"])
def test_tokens_and_weights_are_those_that_comfyui_gave(name):
    tokenizer = ClipTokenizer(pad=CONFIGS[name].pad)
    assert len(RECORDED) > 200
    for entry in RECORDED:
        assert tokenize(entry["prompt"], tokenizer) == unpacked(entry, name), entry["prompt"]


def test_encodings_are_those_that_comfyui_gave(clip, model):
    with np.load(ENCODED) as numbers:
        for i, layer, key in encodings(name_of(model)):
            assert np.allclose(sampled(encoded(clip, PROMPTS[i], layer)), numbers[key], atol=1e-5), (i, layer)


# --- in closed form


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((b))", [("b", 1.1 * 1.1)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 2), (" c", 0.5)]),
        ("(a (b) c:0.5)", [("a ", 0.5), ("b", 0.5 * 1.1), (" c", 0.5)]),
        ("(a:b:1.5)(:3)(x:-1e-1 )", [("a:b", 1.5), (":3", 1.1), ("x", -0.1)]),
        ("\\(a\\) (\\(b:3\\):2)", [("(a) ", 1), ("(b:3)", 2)]),
        ("(a", [("(a", 1)]),
        ("a)(b", [("a)(b", 1)]),
        ("((a:2)", [("(a", 2)]),
        ("()", []),
        ("", []),
    ],
)
def test_weights_of_a_prompt(prompt, expected):
    assert weighted(prompt) == expected


def test_a_weight_moves_away_from_the_empty_prompt(clip):
    for layer in LAYERS:
        plain, empty = encoded(clip, "a red cube", layer), encoded(clip, "", layer)
        moved = encoded(clip, "a (red:1.7) cube", layer)
        expected = plain.clone()
        expected[:, 2] = empty[:, 2] + 1.7 * (plain[:, 2] - empty[:, 2])
        assert torch.allclose(moved, expected, atol=1e-5)
        assert not torch.allclose(moved, plain, atol=1e-2)


def test_a_long_prompt_is_its_chunks_one_after_the_other(clip):
    # 30 stretches of 1 and of 4 tokens; the fifteenth would reach over the end of the first chunk.
    part = "(a:1.2) red cat sits here "
    (rows,) = clip.tokenize(part * 30).values()
    assert [len(row) for row in rows] == [77] * 2
    chunked = torch.cat([encoded(clip, part * 15), encoded(clip, part * 15)], dim=1)
    assert torch.allclose(encoded(clip, part * 30), chunked, atol=1e-5)


def test_a_short_stretch_is_not_torn_and_a_long_one_is():
    tokenizer = ClipTokenizer()

    def lengths(prompt):
        return [sum(token < 49406 for token, _ in row) for row in tokenize(prompt, tokenizer)]

    assert lengths("a " * 73) == [73]
    assert lengths("a " * 73 + "(b c:1.1)") == [75]
    assert lengths("a " * 73 + "(b c d:1.1)") == [73, 3]
    assert lengths("a " * 73 + "(b c d e f g h:1.1)") == [73, 7]
    assert lengths("a " * 73 + "(b c d e f g h i:1.1)") == [75, 6]
    assert lengths("a " * 75) == [75]
    assert lengths("a " * 226) == [75, 75, 75, 1]


@pytest.mark.parametrize("length", [3, 5, 11])
def test_an_encoder_of_few_positions_ends(length):
    rows = tokenize("(a b c d e f:1.2) g h", ClipTokenizer(length))
    assert all(len(row) == length for row in rows)
    words = [token for row in rows for token, _ in row if token < 49406]
    assert words == ClipTokenizer().words("a b c d e f g h")


def test_prompts_of_several_lengths_in_one_batch(model):
    short, long, longer = "a cat", "a cat " * 50, "a cat " * 80
    batch = model.encode_text([short, long, longer])
    assert batch.shape == (3, 6 * 77, WIDTH)
    for z, prompt in zip(batch, (short, long, longer), strict=True):
        (alone,) = model.encode_text([prompt])
        assert torch.allclose(z, alone.repeat(6 * 77 // len(alone), 1), atol=1e-5)


def test_layers_are_counted_from_the_end_and_clones_are_apart(clip, model):
    assert clip.skip is None
    default = encoded(clip, "a cat")
    trained = {"l": -1, "h": -2}[name_of(model)]
    assert torch.equal(default, encoded(clip, "a cat", trained))
    assert torch.equal(encoded(clip, "a cat", -24), default)  # of four layers
    assert not torch.allclose(encoded(clip, "a cat", -3), default, atol=1e-2)
    with pytest.raises(ValueError, match="clip layer is 0"):
        clip.clone().clip_layer(0)


def test_what_other_nodes_ask_of_a_clip(clip, model):
    tokens = clip.tokenize("a cat")
    assert list(tokens) == [name_of(model)]
    cond = clip.encode_from_tokens(tokens)
    assert torch.equal(clip.encode_from_tokens(tokens, return_pooled=True)[0], cond)
    assert clip.encode_from_tokens(tokens, return_dict=True).keys() == {"cond", "pooled_output"}
    ((scheduled, options),) = clip.encode_from_tokens_scheduled(tokens, add_dict={"guidance": 3})
    assert torch.equal(scheduled, cond) and options == {"guidance": 3}


# --- embeddings


def test_an_embedding_of_words_reads_as_the_words(clip, model, embeddings):
    table = model.cond_stage_model.transformer.text_model.embeddings.token_embedding.weight
    vectors = table[torch.tensor(clip.diffusion.tokenizer.words("red cat"))]
    save_file({"clip_g": torch.zeros(2, WIDTH + 8), "clip_l": vectors}, embeddings / "words.safetensors")
    torch.save({"<words>": vectors[0]}, embeddings / "word.bin")
    cases = {
        "a embedding:words sits": "a red cat sits",
        "a embedding:words, sits": "a red cat, sits",
        "a (embedding:words.safetensors:1.3)\nembedding:word.bin": "a (red cat:1.3) red",
        "embedding:word cat": "red cat",
    }
    for prompt, words in cases.items():
        assert torch.allclose(encoded(clip, prompt), encoded(clip, words), atol=1e-6), prompt


def test_an_embedding_in_a_folder_below(clip, embeddings):
    (rows,) = clip.tokenize("embedding:below/second embedding:second").values()
    assert sum(isinstance(token, torch.Tensor) for token, _ in rows[0]) == 6


@pytest.mark.parametrize(
    ("name", "said"), [("missing", "no such file"), ("../outside", "no such file"), ("wide", f"expected {WIDTH}")]
)
def test_an_embedding_that_can_t_be_used_is_left_out_with_a_warning(clip, embeddings, caplog, name, said):
    save_file({"emb_params": torch.zeros(1, WIDTH)}, embeddings.parent / "outside.safetensors")
    save_file({"emb_params": torch.zeros(1, WIDTH + 1)}, embeddings / "wide.safetensors")
    assert clip.tokenize(f"a embedding:{name} cat") == clip.tokenize("a cat")
    (record,) = caplog.records
    assert repr(name) in record.getMessage() and said in record.getMessage() and "\n" not in record.getMessage()


def test_an_embedding_that_can_t_be_read_is_an_error(clip, embeddings):
    (embeddings / "broken.safetensors").write_bytes(b"broken")
    torch.save({"a": SimpleNamespace()}, embeddings / "hostile.pt")
    for name in ("broken", "hostile"):
        with pytest.raises(CheckpointError, match=rf"^embedding '{name}': .*{name}\.\w+: .*expected") as caught:
            clip.tokenize(f"a embedding:{name} cat")
        assert "\n" not in str(caught.value)


def test_without_a_folder_embeddings_are_named_and_left_out(model, caplog):
    assert torch.equal(*model.encode_text(["a embedding:first cat", "a cat"]))
    assert "'first'" in caplog.text
    assert tokenize("a embedding:", model.tokenizer) == tokenize("a", model.tokenizer)


# --- the models themselves


def test_the_shipped_model_reads_plain_prompts_as_it_was_trained():
    model = load_checkpoint(SHIPPED)
    for prompt in ("", "a large red sphere left of a small blue cube on a green floor under a blue sky"):
        with torch.no_grad():
            trained = model.cond_stage_model.transformer(model.tokenizer([prompt]))
        assert torch.equal(encoded(Clip(model), prompt), trained)
        assert torch.equal(model.encode_text([prompt]), trained)


def test_a_model_of_few_ids_is_told_apart_from_clip_s():
    sizes = {"channels": (32, 32), "blocks": 1}
    unet, text = UNetConfig(**sizes, attention=(False, True), context=WIDTH), replace(CONFIGS["l"], vocabulary=100)
    model = LatentDiffusion(ModelConfig(unet, AutoencoderConfig(**sizes), text))
    with pytest.raises(ValueError, match="vocabulary has 100 ids"):
        model.encode_text(["a"])


def test_a_model_loads_without_a_vocabulary_and_says_so_when_it_is_asked(model, monkeypatch):
    monkeypatch.setattr(clip_tokenizer, "PACKAGES", ())
    fresh = LatentDiffusion(model.config)
    with pytest.raises(ValueError, match=r'pip install "comfyui-ddim\[sd\]"'):
        Clip(fresh).tokenize("a cat")
