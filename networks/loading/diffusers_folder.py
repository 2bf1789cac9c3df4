"""A diffusers folder (model_index.json, unet/, vae/, text_encoder/ ...) as the single file it could have been."""

import json
from collections.abc import Mapping
from pathlib import Path

from .detection import AUTOENCODER, TEXT, UNET
from .diffusers_names import published_names
from .facts import Facts, check_facts
from .tensor_file import CheckpointError, Contents, TensorLike, read_file

__all__ = ["read_folder", "read_part"]

INDEX = "model_index.json"
PARTS = {"unet": UNET, "vae": AUTOENCODER, "text_encoder": TEXT}
WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
ENDINGS = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}


def read_folder(folder: Path) -> tuple[dict[str, TensorLike], Facts]:
    """A model's tensors by published names, and the facts in its configuration.

    Parts that the index doesn't name, or names null, aren't there. Raises CheckpointError that names the file for a
    folder without an index, a part that is missing or broken, or a pipeline of another kind.
    """
    index = _json(folder / INDEX)
    there = [name for name in PARTS if index.get(name) not in (None, [None, None])]
    if "unet" not in there or "text_encoder_2" in index:
        kind = index.get("_class_name", "a pipeline without a unet")
        raise CheckpointError(
            f"{folder}: this looks like {kind}, expected Stable Diffusion 1.x or 2.x: run with --comfyui"
        )
    tensors: dict[str, TensorLike] = {}
    for part in there:
        own = read_part(folder / part).tensors
        tensors |= {PARTS[part] + name.removeprefix("text_model."): tensor for name, tensor in own.items()}
    configs = (_json(folder / part / "config.json") if part in there else {} for part in PARTS)
    return tensors, _facts(*configs, folder)


def read_part(folder: Path) -> Contents:
    """The tensors of one network's folder, by published names; CheckpointError where it has no weights."""
    contents = _weights(folder)
    names = published_names(contents.tensors)
    return Contents({names[name]: tensor for name, tensor in contents.tensors.items()}, contents.metadata)


def _weights(folder: Path) -> Contents:
    """The tensors as they are named there, from one file or from the shards that an index tells of."""
    for name in (stem + ending for ending in ENDINGS for stem in WEIGHTS):
        if (folder / name).is_file():
            return read_file(folder / name)
    for index in sorted(folder.glob("*.index*.json"), reverse=True):  # .safetensors before .bin
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
            raise CheckpointError(f"{index}: it has no weight_map, expected one that names each tensor's file")
        shards = (read_file(folder / Path(name).name) for name in sorted(set(places.values())))
        return Contents({name: tensor for shard in shards for name, tensor in shard.tensors.items()})
    raise CheckpointError(f"{folder}: it has no weights, expected a file {WEIGHTS[0]}{ENDINGS[0]} or one named like it")


def _json(path: Path) -> dict:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected it in a diffusers folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON, {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a {type(content).__name__}, expected a JSON object")
    return content


def _facts(unet: Mapping, vae: Mapping, text: Mapping, folder: Path) -> Facts:
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    prediction, betas = scheduler.get("prediction_type", "epsilon"), scheduler.get("beta_schedule", "scaled_linear")
    if prediction not in list(PREDICTIONS) or betas != "scaled_linear":
        raise CheckpointError(
            f"{folder}: a scheduler of {prediction!r} on {betas!r} betas, expected "
            f"{' or '.join(map(repr, PREDICTIONS))} on 'scaled_linear'"
        )
    facts: dict[str, object] = {"parameterization": PREDICTIONS[prediction]}
    for name, ours in (("num_train_timesteps", "timesteps"), ("beta_start", "beta_start"), ("beta_end", "beta_end")):
        if name in scheduler:
            facts[ours] = scheduler[name]
    facts["scale_factor"] = vae.get("scaling_factor", 0.18215)
    facts["text_heads"] = text.get("num_attention_heads", 12)
    facts["text_activation"] = text.get("hidden_act", "quick_gelu")
    if facts["text_activation"] == "gelu":  # OpenCLIP's: its last layer isn't used, and is left out there
        facts |= {"text_skip": 2, "text_cut": 1, "text_pad": 0}
    try:
        return check_facts(facts | _heads(unet))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}, in the folder's configuration") from error


def _heads(unet: Mapping) -> Facts:
    """The heads in a UNet's configuration; what diffusers calls the width of a head is the number of heads."""
    heads = unet.get("num_attention_heads") or unet.get("attention_head_dim", 8)
    widths = unet.get("block_out_channels", ())
    if isinstance(heads, int):
        return {"unet_heads": heads}
    lists = all(isinstance(each, list) and each and all(type(n) is int for n in each) for each in (heads, widths))
    if not lists or len(heads) != len(widths) or min(heads) < 1:
        raise CheckpointError(f"unet: {heads!r} heads of {widths!r} channels, expected a number of heads for each")
    width = {channels // count for channels, count in zip(widths, heads, strict=True)}
    if len(width) != 1:
        raise CheckpointError(f"unet: {heads} heads of {widths} channels, expected heads of the same width")
    return {"unet_head_width": width.pop()}
