"""What a checkpoint says about itself that its tensors' shapes can't tell, each fact checked before it is used."""

import json
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..latent_diffusion import ModelConfig
from ..text.encoder import ACTIVATIONS
from ..unet import UNetConfig
from .stored import CheckpointError

__all__ = ["METADATA", "MODEL_FACTS", "TEXT_FACTS", "Facts", "check_facts", "facts_of", "read_facts", "unet_facts"]

METADATA = "comfyui_ddim"

Facts = Mapping[str, object]
"""`unet_heads` or `unet_head_width`, `text_` with a TextConfig's `heads`, `activation`, `skip`, `cut` or `pad`,
and any of a ModelConfig's numbers, `parameterization` and `vocabulary`."""

TEXT_FACTS = ("heads", "activation", "skip", "cut", "pad")
MODEL_FACTS = ("parameterization", "scale_factor", "timesteps", "beta_start", "beta_end")


class Rule(NamedTuple):
    """What a fact may be, and that in words."""

    holds: Callable[[object], bool]
    expected: str


def _whole(low: int, high: int) -> Rule:
    return Rule(lambda x: type(x) is int and low <= x <= high, f"a whole number from {low} to {high}")


def _between(low: float, high: float) -> Rule:
    return Rule(lambda x: type(x) in (int, float) and low < x < high, f"a number between {low} and {high}")


def _one_of(*choices: str) -> Rule:
    return Rule(lambda x: isinstance(x, str) and x in choices, " or ".join(map(repr, choices)))


def _words(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)


PAD = _whole(0, 10_000_000)
RULES = {
    "unet_heads": _whole(1, 1024),
    "unet_head_width": _whole(1, 4096),
    "text_heads": _whole(1, 1024),
    "text_activation": _one_of(*ACTIVATIONS),
    "text_skip": _whole(1, 1000),
    "text_cut": _whole(0, 100),
    "text_pad": Rule(lambda x: x is None or PAD.holds(x), f"null or {PAD.expected}"),
    "parameterization": _one_of("eps", "v"),
    "scale_factor": _between(0, 1e6),
    "timesteps": _whole(2, 10_000),
    "beta_start": _between(0, 1),
    "beta_end": _between(0, 1),
    "vocabulary": Rule(_words, "a list of words"),
}
LEAST_SIGNAL = 1e-12
"""What must be left of the signal at the last timestep."""


def check_facts(facts: Facts) -> Facts:
    """The facts, if each can be one; else CheckpointError with its name, what came and what was expected."""
    for name, rule in RULES.items():
        if name in facts and not rule.holds(facts[name]):
            came = repr(facts[name]) if isinstance(facts[name], str) else json.dumps(facts[name], default=repr)
            came = came if len(came) <= 80 else f"{came[:80]}..."
            raise CheckpointError(f"{name} {came}, expected {rule.expected}")
    steps, start, end = (
        facts.get(name, getattr(ModelConfig, name)) for name in ("timesteps", "beta_start", "beta_end")
    )
    if not start <= end:
        raise CheckpointError(f"beta_start {start!r} and beta_end {end!r}, expected beta_start to be at most beta_end")
    # The logarithm of the last alpha-bar, from betas evenly spaced in their roots, to within a few percent.
    betas = [(start**0.5 + (end**0.5 - start**0.5) * (i + 0.5) / 100) ** 2 for i in range(100)]
    if sum(math.log1p(-beta) for beta in betas) * steps / 100 < math.log(LEAST_SIGNAL):
        raise CheckpointError(
            f"betas from {start!r} to {end!r} in {steps!r} timesteps, expected some signal to be left at the last one"
        )
    return facts


def read_facts(metadata: Mapping[str, str]) -> Facts:
    """The facts in a safetensors file's metadata; CheckpointError where they can't be read, or can't be."""
    try:
        facts = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"metadata {METADATA!r}: expected JSON, {error}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"metadata {METADATA!r}: a {type(facts).__name__}, expected an object")
    try:
        return check_facts(facts)
    except CheckpointError as error:
        raise CheckpointError(f"metadata {METADATA!r}: {error}") from error


def facts_of(config: ModelConfig) -> dict[str, object]:
    """What `config_of` needs to be told of a model, to be written into its metadata."""
    facts = {name: getattr(config, name) for name in MODEL_FACTS}
    if config.text is not None:
        facts |= {f"text_{name}": getattr(config.text, name) for name in TEXT_FACTS}
    if config.unet is not None:
        facts |= unet_facts(config.unet)
    return facts | {"vocabulary": list(config.vocabulary)}


def unet_facts(config: UNetConfig) -> dict[str, object]:
    """What `unet_config` needs to be told."""
    return {"unet_head_width": config.head_width} if config.head_width else {"unet_heads": config.heads}
