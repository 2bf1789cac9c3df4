"""Loading models, ControlNets and autoencoders from the files and folders that they come in, and saving them."""

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...atomic import replacing
from ..autoencoder import Autoencoder
from ..controlnet import ControlNet
from ..device import SMALL, NotEnoughMemory, best_dtype, check_fits, loading
from ..latent_diffusion import LatentDiffusion
from ..missing import Missing
from ..text.clip_tokenizer import ClipTokenizer
from .averaged_names import averaged_unet
from .detection import (
    A_CONTROLNET,
    ALONE,
    AUTOENCODER,
    CONTROL,
    TEXT,
    TEXT_PART,
    UNET,
    Shapes,
    autoencoder_config,
    config_of,
    controlnet_config,
    foreign,
    predicts_v,
)
from .diffusers_folder import read_folder, read_part
from .diffusers_names import published_names
from .facts import METADATA, Facts, facts_of, read_facts, unet_facts
from .open_clip_names import clip_names
from .tensor_file import CheckpointError, TensorLike, read_file, tensor

__all__ = [
    "load_autoencoder",
    "load_checkpoint",
    "load_controlnet",
    "save_checkpoint",
    "save_controlnet",
]

Network = TypeVar("Network", bound=nn.Module)
Tensors = dict[str, TensorLike]

# Names that the same tensors go by in some files: (how they begin there, how they begin here).
ALSO_NAMED = (
    ("conditioner.embedders.0.", "cond_stage_model."),
    *((f"cond_stage_model.transformer.{part}", f"{TEXT}{part}") for part in ("embeddings", "encoder", "final_layer")),
)
PARTS = (UNET, AUTOENCODER, TEXT_PART)
OPEN_CLIP = f"{TEXT_PART}model.token_embedding.weight"
# What a UNet alone has under no prefix, in the published or in diffusers' layout, and what a ControlNet has besides.
BARE_UNET = ("input_blocks.0.0.weight", "time_embedding.linear_1.weight")
BARE_CONTROLNET = ("input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight")
OPEN_CLIP_FACTS = {"text_activation": "gelu", "text_skip": 2, "text_pad": 0}
# Beside the weights, published files carry derived tables, a moving average, what training needed.
UNUSED = re.compile(
    r"(.*position_ids|.*logit_scale|.*text_projection(\.weight)?|(first_stage_model\.)?loss\..*|model_ema\..*)$"
)


def load_checkpoint(path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> LatentDiffusion:
    """Load a Stable Diffusion 1.x or 2.x kind of model: a safetensors or torch file, or a diffusers folder.

    `dtype` is what UNet and autoencoder are computed in, None for what suits the device and the model's size
    (`best_dtype`); on a CPU the text encoder stays in float32. Tensors are read and converted one by one. A part that
    the file doesn't have at all is an error once it is used. Raises CheckpointError (a ValueError) that names the file,
    and the tensor or what else is wrong: not readable, cut off or changed meanwhile, of another family, incomplete, a
    wrong shape, a value that isn't finite.
    """
    path = Path(path)
    with _naming(path):
        source = Source(*read_folder(path)) if path.is_dir() else _single_file(path)
        with _guessing(source):
            config = config_of(source.shapes, source.facts)
            if None in (config.unet, config.autoencoder, config.text) and (kind := foreign(source.names)):
                raise CheckpointError(kind)  # another family's, whose parts go by other names
            with torch.device("meta"):
                model = LatentDiffusion(config)
            dtype = dtype or best_dtype(device, sum(p.numel() for p in model.model.parameters()))
            for part in model.modules():
                if isinstance(part, Missing):
                    part.source = path.name
            _fill(model, source.tensors, device, lambda name: _part_dtype(name, device, dtype))
    if isinstance(model.tokenizer, ClipTokenizer):
        model.tokenizer.folder = (path if path.is_dir() else path.parent) / "tokenizer"
    return model


def load_controlnet(path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> ControlNet:
    """Load a ControlNet of the published or diffusers layout, from a file or a diffusers folder of its own.

    `dtype` None is what suits the device and the network's size. Raises CheckpointError as `load_checkpoint` does.
    """
    path = Path(path)
    with _naming(path):
        source = _alone(path, CONTROL)
        with _guessing(source, A_CONTROLNET):
            config, hint_channels = controlnet_config(source.shapes, source.facts)
            with torch.device("meta"):
                net = ControlNet(config, hint_channels)
            dtype = dtype or best_dtype(device, sum(p.numel() for p in net.parameters()))
            _fill(net, source.tensors, device, lambda name: dtype)
    return net


def load_autoencoder(path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> Autoencoder:
    """Load an autoencoder alone, from a file of the published or diffusers layout, a diffusers folder or a checkpoint.

    `dtype` None is what suits the device and the network's size. Raises CheckpointError as `load_checkpoint` does.
    """
    path = Path(path)
    with _naming(path):
        source = _alone(path, AUTOENCODER)
        with _guessing(source, ALONE):
            with torch.device("meta"):
                network = Autoencoder(autoencoder_config(source.shapes, ""))
            dtype = dtype or best_dtype(device, sum(p.numel() for p in network.parameters()))
            _fill(network, source.tensors, device, lambda name: dtype)
    return network


def save_checkpoint(model: LatentDiffusion, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a model with the published key names; what shapes can't tell goes into the metadata."""
    _save(model, "", path, dtype, facts_of(model.config))


def save_controlnet(net: ControlNet, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a ControlNet with the published key names; its heads go into the metadata."""
    _save(net, CONTROL, path, dtype, unet_facts(net.config))


def _save(network: nn.Module, prefix: str, path: Path, dtype: torch.dtype, facts: dict[str, object]) -> None:
    state = network.state_dict().items()
    tensors = {prefix + name: tensor.detach().to(dtype).cpu().contiguous() for name, tensor in state}
    with replacing(path) as part:
        save_file(tensors, part, {METADATA: json.dumps(facts), "format": "pt"})


@dataclass(frozen=True)
class Source:
    """Tensors by published names, what shapes can't tell, and the names as they were found, if they were others."""

    tensors: Tensors
    facts: Facts
    names: Sequence[str] = ()

    @property
    def shapes(self) -> Shapes:
        """The tensors' shapes."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def _single_file(path: Path) -> Source:
    """A whole model from one file, or what there is of it, its tensors named as Stable Diffusion 1.x names them."""
    contents = read_file(path)
    facts = dict(read_facts(contents.metadata))
    named: Tensors = {}
    for name, value in contents.tensors.items():
        if (renamed := _renamed(name)) in named:
            raise CheckpointError(f"two tensors for {renamed!r}, the second {name!r}")
        named[renamed] = value
    # Which text encoder it is, the tensors tell that it can't do without.
    if OPEN_CLIP in named and f"{TEXT}embeddings.token_embedding.weight" not in named:
        named = clip_names(named)
        facts = OPEN_CLIP_FACTS | facts
    named = _with_unet(named)
    facts.setdefault("parameterization", "v" if predicts_v(named) else "eps")
    own = {name: t for name, t in named.items() if name.startswith(PARTS) and not UNUSED.match(name)}
    return Source(own, facts, list(contents.tensors))


def _with_unet(named: Tensors) -> Tensors:
    """The tensors, with a UNet's that are there under no prefix, or only as the moving average, under the usual one."""
    if any(name.startswith(UNET) for name in named):
        return named
    if any(mark in named for mark in BARE_UNET) and not any(mark in named for mark in BARE_CONTROLNET):
        return {f"{UNET}{ours}": named[theirs] for theirs, ours in published_names(named).items()}
    return named | averaged_unet(named, UNET)


def _renamed(name: str) -> str:
    for theirs, ours in ALSO_NAMED:
        if name.startswith(theirs):
            return _renamed(ours + name.removeprefix(theirs))
    return name


def _alone(path: Path, prefix: str) -> Source:
    """One network from wherever it is, its tensors by published names without the prefix."""
    contents = read_part(path) if path.is_dir() else read_file(path)
    own = {n.removeprefix(prefix): t for n, t in contents.tensors.items() if n.startswith(prefix)} or contents.tensors
    names = published_names(own)
    tensors = {names[n]: t for n, t in own.items() if not UNUSED.match(n)}
    return Source(tensors, read_facts(contents.metadata), list(contents.tensors))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the file to what goes wrong, where the message doesn't name it yet."""
    try:
        with loading(path):
            yield
    except (CheckpointError, NotEnoughMemory) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:  # sizes that make no network
        said = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: no model can be built from its tensors ({said}), expected sizes that fit together"
        ) from error


@contextlib.contextmanager
def _guessing(source: Source, wanted: str = "") -> Iterator[None]:
    """Turns what goes wrong with a known other kind of model into what kind that is."""
    try:
        yield
    except CheckpointError as error:
        kind = foreign(source.names, wanted)
        raise CheckpointError(kind) if kind else error from error


def _part_dtype(name: str, device: str, dtype: torch.dtype) -> torch.dtype:
    text_on_cpu = name.startswith("cond_stage_model.") and torch.device(device).type == "cpu"
    return torch.float32 if text_on_cpu else dtype


def _fill(network: nn.Module, tensors: Tensors, device: str, dtype: Callable[[str], torch.dtype]) -> None:
    """Put the tensors into a network on the meta device, taking them out of the dict; all are checked first.

    Each is read when its turn comes, in the file's order.
    """
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    _check_names(expected, tensors)
    for name, shape in expected.items():
        tensors[name] = _fitting(name, tensors[name], shape)
    needed = sum(shape.numel() * dtype(name).itemsize for name, shape in expected.items())
    check_fits("this model", needed, device, "close other programs, or try --dtype bfloat16")
    # The faster order for convolutions there; a small network gains nothing by it.
    large = sum(shape.numel() for shape in expected.values()) >= SMALL
    order = torch.channels_last if large and torch.device(device).type != "mps" else torch.contiguous_format
    filled = {name: _converted(name, tensors.pop(name), device, dtype(name), order) for name in list(tensors)}
    network.load_state_dict(filled, assign=True)
    network.eval().requires_grad_(False)


def _check_names(expected: Mapping[str, object], tensors: Tensors) -> None:
    for problem, names in (
        ("missing", expected.keys() - tensors.keys()),
        ("unexpected", tensors.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(f"{len(names)} {problem} tensors, the first {sorted(names)[0]!r}")


def _fitting(name: str, value: TensorLike, shape: torch.Size) -> TensorLike:
    """The tensor in a shape; a linear layer's weight also serves as a 1 x 1 convolution's."""
    if not value.dtype.is_floating_point:
        kind = str(value.dtype).removeprefix("torch.")
        raise CheckpointError(f"tensor {name!r} is of the type {kind}, expected floating point numbers")
    if value.shape == shape:
        return value
    if (*value.shape, 1, 1) == tuple(shape):
        return value.reshape(shape)
    raise CheckpointError(f"tensor {name!r} has shape {list(value.shape)}, expected {list(shape)}")


def _converted(name: str, value: TensorLike, device: str, dtype: torch.dtype, order: torch.memory_format) -> Tensor:
    """The tensor in its final type and place, of four dimensions in an order; CheckpointError for NaN or infinity."""
    found = tensor(value)
    converted = found.to(dtype, memory_format=order if found.ndim == 4 else torch.contiguous_format)
    if not all(math.isfinite(end) for end in converted.aminmax()):
        kind = "NaN" if converted.isnan().any() else "infinity"
        came = "" if found.isfinite().all() else " in the file"
        raise CheckpointError(f"tensor {name!r} has {kind}{came or f' as {str(dtype)[6:]}'}, expected finite numbers")
    return converted.to(device)
