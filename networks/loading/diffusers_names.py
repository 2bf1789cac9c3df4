"""How diffusers names the tensors that published checkpoints name otherwise: tables, one row per part of a network.

A row is (diffusers' prefix, the published prefix, and how the layers behind it are renamed; none are if that's empty).
Prefixes count: `{i}` levels in the order that the network runs through them, `{j}` blocks of a level, `{n}` a list.
Where the published layout counts otherwise, `_counts` says what the other letters are.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

__all__ = ["diffusers_unet_names", "published_names"]

Layers = Mapping[str, str]
Row = tuple[str, str, Layers]

AS_IS: Layers = {}
RES_BLOCK: Layers = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
HALF_UNET: tuple[Row, ...] = (
    ("time_embedding.linear_1", "time_embed.0", AS_IS),
    ("time_embedding.linear_2", "time_embed.2", AS_IS),
    ("conv_in", "input_blocks.0.0", AS_IS),
    ("down_blocks.{i}.resnets.{j}", "input_blocks.{down}.0", RES_BLOCK),
    ("down_blocks.{i}.attentions.{j}", "input_blocks.{down}.1", AS_IS),
    ("down_blocks.{i}.downsamplers.0.conv", "input_blocks.{down_end}.0.op", AS_IS),
    ("mid_block.resnets.0", "middle_block.0", RES_BLOCK),
    ("mid_block.attentions.0", "middle_block.1", AS_IS),
    ("mid_block.resnets.1", "middle_block.2", RES_BLOCK),
)
UNET: tuple[Row, ...] = (
    *HALF_UNET,
    ("up_blocks.{i}.resnets.{j}", "output_blocks.{up}.0", RES_BLOCK),
    ("up_blocks.{i}.attentions.{j}", "output_blocks.{up}.1", AS_IS),
    ("up_blocks.{i}.upsamplers.0.conv", "output_blocks.{up_end}.{up_last}.conv", AS_IS),
    ("conv_norm_out", "out.0", AS_IS),
    ("conv_out", "out.2", AS_IS),
)
CONTROLNET: tuple[Row, ...] = (
    *HALF_UNET,
    ("controlnet_cond_embedding.conv_in", "input_hint_block.0", AS_IS),
    ("controlnet_cond_embedding.blocks.{n}", "input_hint_block.{hint}", AS_IS),
    ("controlnet_cond_embedding.conv_out", "input_hint_block.{hint_end}", AS_IS),
    ("controlnet_down_blocks.{n}", "zero_convs.{n}.0", AS_IS),
    ("controlnet_mid_block", "middle_block_out.0", AS_IS),
)
PICTURE_BLOCK: Layers = {"conv_shortcut": "nin_shortcut"}
PICTURE_ATTENTION: Layers = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    # As diffusers named them before version 0.15.
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
AUTOENCODER: tuple[Row, ...] = (
    ("quant_conv", "quant_conv", AS_IS),
    ("post_quant_conv", "post_quant_conv", AS_IS),
    ("encoder.down_blocks.{i}.resnets.{j}", "encoder.down.{i}.block.{j}", PICTURE_BLOCK),
    ("encoder.down_blocks.{i}.downsamplers.0.conv", "encoder.down.{i}.downsample.conv", AS_IS),
    ("decoder.up_blocks.{i}.resnets.{j}", "decoder.up.{fine}.block.{j}", PICTURE_BLOCK),
    ("decoder.up_blocks.{i}.upsamplers.0.conv", "decoder.up.{fine}.upsample.conv", AS_IS),
    *(
        (f"{half}.{theirs}", f"{half}.{ours}", layers)
        for half in ("encoder", "decoder")
        for theirs, ours, layers in (
            ("conv_in", "conv_in", AS_IS),
            ("mid_block.resnets.0", "mid.block_1", PICTURE_BLOCK),
            ("mid_block.attentions.0", "mid.attn_1", PICTURE_ATTENTION),
            ("mid_block.resnets.1", "mid.block_2", PICTURE_BLOCK),
            ("conv_norm_out", "norm_out", AS_IS),
            ("conv_out", "conv_out", AS_IS),
        )
    ),
)
# A tensor that is there in diffusers' layout of a network and in no other, and the network's rows.
LAYOUTS: Mapping[str, tuple[Row, ...]] = {
    "controlnet_cond_embedding.conv_in.weight": CONTROLNET,
    "time_embedding.linear_1.weight": UNET,
    "encoder.down_blocks.0.resnets.0.conv1.weight": AUTOENCODER,
}


def published_names(names: Iterable[str]) -> dict[str, str]:
    """{name: published name} for one network's tensors; a name that no table has, or is published, stays as it is."""
    names = list(names)
    rows = next((rows for mark, rows in LAYOUTS.items() if mark in names), None)
    if rows is None:
        return {name: name for name in names}
    levels = _length(names, r"(?:encoder\.)?down_blocks\.(\d+)\.")
    blocks = _length(names, r"(?:encoder\.)?down_blocks\.0\.resnets\.(\d+)\.")
    hints = _length(names, r"controlnet_cond_embedding\.blocks\.(\d+)\.")
    attentive = {int(match[1]) for name in names if (match := re.match(r"up_blocks\.(\d+)\.attentions\.", name))}
    expanded = _expanded(rows, _counts(levels, blocks, hints, attentive))
    heads = {theirs: (ours, layers) for theirs, ours, layers in expanded}
    return {name: _renamed(name, heads) for name in names}


def diffusers_unet_names(names: Iterable[str], blocks: int, attention: Sequence[bool]) -> dict[str, str]:
    """{published name: diffusers' name} for a UNet's tensors, with so many blocks a level; finest level first."""
    attentive = {i for i, has in enumerate(reversed(attention)) if has}
    heads = {
        ours: (theirs, {own: other for other, own in layers.items()})
        for theirs, ours, layers in _expanded(UNET, _counts(len(attention), blocks, 0, attentive))
    }
    return {name: _renamed(name, heads) for name in names}


def _expanded(rows: Iterable[Row], letters: Iterable[Mapping[str, int]]) -> Iterator[Row]:
    """The rows with numbers for letters."""
    for counts in letters:
        for theirs, ours, layers in rows:
            yield theirs.format_map(counts), ours.format_map(counts), layers


def _counts(levels: int, blocks: int, hints: int, attentive: Collection[int]) -> Iterator[dict[str, int]]:
    """All letters' values in turn: the published layout counts through levels, the decoder's from the finest one.

    `attentive` are the levels on the way up that have transformers, the coarsest is 0.
    """
    for n in range(max(levels * (blocks + 1), hints)):
        i, j = divmod(n, blocks + 1)
        first = i * (blocks + 1)
        counts = {"i": i, "j": j, "n": n, "fine": levels - 1 - i}
        counts |= {"down": 1 + n, "down_end": first + blocks + 1}
        counts |= {"up": n, "up_end": first + blocks, "up_last": 2 if i in attentive else 1}
        yield counts | {"hint": 2 * n + 2, "hint_end": 2 * hints + 2}


def _length(names: list[str], pattern: str) -> int:
    return len({int(match[1]) for name in names if (match := re.match(pattern, name))})


def _renamed(name: str, heads: Mapping[str, tuple[str, Layers]]) -> str:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        if (head := ".".join(parts[:cut])) in heads:
            ours, layers = heads[head]
            layer = ".".join(parts[cut:-1])
            return ".".join(part for part in (ours, layers.get(layer, layer), parts[-1]) if part)
    return name
