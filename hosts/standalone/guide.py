"""Prompts of several entries as the sampler's guide: areas, masks, strengths, times and ControlNets, as in ComfyUI."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...networks import DiffusionRun
from ...sampler import Guidance, Guide, Guided, ModelGuide, Schedule, cfg, fit, rescale
from ..fit import cycled
from .conditioning import Box, Entry
from .controlnet import positions

__all__ = ["PromptGuide", "make_guide"]

POSITIVE, NEGATIVE = 0, 1
FARTHEST = 4
"""How often the shortest text of a batch is repeated, at most."""


def make_guide(
    diffusion: DiffusionRun,
    positive: Sequence[Entry],
    negative: Sequence[Entry],
    shape: torch.Size,
    schedule: Schedule,
    guidance: Guidance,
) -> Guide:
    """The guided model call for latents of `shape` (b, c, h, w): the sampler's own guide where both prompts are text.

    Raises ValueError for what doesn't fit together.
    """
    if len(positive) == len(negative) == 1 and positive[0].plain and negative[0].plain:
        cond, uncond = fit(positive[0].text, shape[0], "positive"), fit(negative[0].text, shape[0], "negative")
        return ModelGuide(diffusion, cond, uncond, guidance.scales(len(schedule)), guidance)
    return PromptGuide(diffusion, positive, negative, shape, schedule, guidance)


@dataclass(frozen=True, eq=False)
class Part:
    """An entry in its place: on which side it speaks, its box, and its weight there (1 or b, 1, h, w)."""

    side: int
    entry: Entry
    box: Box
    weight: Tensor


@dataclass(frozen=True, eq=False)
class Call:
    """Parts that share one call of the model; `shares` are their weights among all that speak at a pixel.

    text: (parts x b, n, width); concat: (parts x b, c, h, w); hints: one for each ControlNet of the chain
    """

    parts: list[Part]
    shares: list[Tensor]
    text: Tensor
    concat: Tensor | None
    hints: list[Tensor]


@dataclass(frozen=True, eq=False)
class Mix:
    """All calls of a step, and for each side where nothing speaks (1 or b, 1, h, w), None if that is nowhere."""

    calls: list[Call]
    silent: list[Tensor | None] = field(default_factory=list)


class PromptGuide:
    """The guided output of a model under prompts that have several entries each.

    On each side the outputs are averaged by weight; where no entry has any, the model is taken to see nothing there
    (x0 = 0). Entries of one size and one ControlNet go through the model in one call, texts of different lengths
    repeated to the least common multiple, which changes nothing. An entry that has no weight, or isn't at its time,
    costs no call. Scale 1 asks the positive side alone and scale 0 the negative one.
    """

    def __init__(
        self,
        diffusion: DiffusionRun,
        positive: Sequence[Entry],
        negative: Sequence[Entry],
        shape: torch.Size,
        schedule: Schedule,
        guidance: Guidance,
    ) -> None:
        """Raises ValueError for an area outside of it."""
        self.diffusion, self.guidance, self.shape = diffusion, guidance, shape
        self.scales = guidance.scales(len(schedule))
        self.positions = positions(schedule, diffusion.alphas_cumprod)
        signal, noise = schedule.signal.tolist(), schedule.noise.tolist()
        # The output that stands for x0 = 0, as a factor on x: eps is then x / noise.
        nothing = {"eps": 1.0, "x0": 0.0}
        self.nothing = [
            nothing.get(diffusion.parameterization, s) / n for s, n in zip(signal, noise[:-1], strict=False)
        ]
        sides = ((POSITIVE, positive), (NEGATIVE, negative))
        self.parts = [part for side, entries in sides for entry in entries if (part := self._placed(side, entry))]
        self.mixes: dict[tuple[int, ...], Mix] = {}
        for i in range(len(schedule)):  # what is made of weights is read back: before the run, not in it
            self._mix(i, self._sides(i))

    def __call__(self, x: Tensor, t: Tensor, i: int) -> Guided:
        """The guided output for x (b, c, h, w) at the timesteps t (b,), step `i`."""
        sides, guidance = self._sides(i), self.guidance
        outputs = self._outputs(x, t, i, sides)
        if sides == (NEGATIVE,):
            return Guided(outputs[0], outputs[0])
        if sides == (POSITIVE,):
            return Guided(outputs[0])
        cond, uncond = outputs
        guided = cfg(cond, uncond, self.scales[i])
        return Guided(rescale(guided, cond, guidance.rescale) if guidance.rescale else guided, uncond)

    def _sides(self, i: int) -> tuple[int, ...]:
        """The sides that have a weight at step `i`."""
        passes = self.guidance.passes(self.scales[i])
        return (POSITIVE,) * passes.cond + (NEGATIVE,) * passes.uncond

    def _placed(self, side: int, entry: Entry) -> Part | None:
        height, width = self.shape[-2:]
        box = Box(height, width, 0, 0) if entry.area is None else entry.area.within(height, width)
        weight = entry.weight(box, height, width)
        return Part(side, entry, box, weight) if weight.any() else None

    def _outputs(self, x: Tensor, t: Tensor, i: int, sides: tuple[int, ...]) -> list[Tensor]:
        """The model's output on each of the sides."""
        mix = self._mix(i, sides)
        totals = [torch.zeros_like(x) if where is None else x * where * self.nothing[i] for where in mix.silent]
        for call in mix.calls:
            for part, share, out in zip(call.parts, call.shares, self._call(call, x, t, i), strict=True):
                part.box.cut(totals[sides.index(part.side)]).add_(out * share)
        return totals

    def _call(self, call: Call, x: Tensor, t: Tensor, i: int) -> tuple[Tensor, ...]:
        """The model's output for each part."""
        count = len(call.parts)
        x, t = torch.cat([part.box.cut(x) for part in call.parts]), t.repeat(count)
        cond = {"c_crossattn": [call.text]}
        if call.concat is not None:
            cond["c_concat"] = [call.concat]
        if residuals := self._residuals(call, x, t, i):
            cond["control"] = residuals
        return self.diffusion.apply_model(x, t, cond).chunk(count)

    def _residuals(self, call: Call, x: Tensor, t: Tensor, i: int) -> list[Tensor]:
        """The sum over those ControlNets whose time it is; empty if it is none's."""
        control = call.parts[0].entry.control
        chain = zip(control.chain if control else (), call.hints, strict=True)
        at_work = [
            each.residuals(x, hint, t, call.text, self.diffusion)
            for each, hint in chain
            if each.span.holds(self.positions[i])
        ]
        return [sum(residuals[1:], residuals[0]) for residuals in zip(*at_work, strict=True)]

    def _mix(self, i: int, sides: tuple[int, ...]) -> Mix:
        """The calls of step `i`, made once for all steps at which the same parts speak."""
        speaking = tuple(
            j for j, part in enumerate(self.parts) if part.side in sides and part.entry.span.holds(self.positions[i])
        )
        key = (*sides, *speaking)
        if key not in self.mixes:
            self.mixes[key] = self._mixed([self.parts[j] for j in speaking], sides)
        return self.mixes[key]

    def _mixed(self, parts: list[Part], sides: tuple[int, ...]) -> Mix:
        device = self.diffusion.device
        sums = {side: torch.zeros(self.shape[0], 1, *self.shape[-2:], device=device) for side in sides}
        for part in parts:
            part.box.cut(sums[part.side]).add_(part.weight)
        calls = [self._joined(group, sums) for group in _groups(parts)]
        silent = [(sums[side] == 0).float() for side in sides]
        return Mix(calls, [where if where.any() else None for where in silent])

    def _joined(self, parts: list[Part], sums: dict[int, Tensor]) -> Call:
        batch, length = self.shape[0], math.lcm(*(part.entry.text.shape[1] for part in parts))
        texts = [part.entry.text.repeat(1, length // part.entry.text.shape[1], 1) for part in parts]
        concats = [part.box.cut(part.entry.concat) for part in parts if part.entry.concat is not None]
        control, box = parts[0].entry.control, parts[0].box
        hints = [each.hint_for(batch, box.height, box.width) for each in (control.chain if control else ())]
        return Call(
            parts,
            [part.weight / part.box.cut(sums[part.side]).clamp(min=1e-37) for part in parts],
            torch.cat([cycled(text, batch) for text in texts]),
            torch.cat(concats) if concats else None,
            [hint if len(hint) == 1 else hint.repeat(len(parts), 1, 1, 1) for hint in hints],
        )


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that one call can take: of one size, under the same ControlNets, their texts not too unlike in length."""
    groups: list[list[Part]] = []
    for part in parts:
        for group in groups:
            if _fits(part, group):
                group.append(part)
                break
        else:
            groups.append([part])
    return groups


def _fits(part: Part, group: list[Part]) -> bool:
    first = group[0]
    lengths = [each.entry.text.shape[1] for each in (*group, part)]
    return (
        part.box[:2] == first.box[:2]
        and part.entry.control is first.entry.control
        and math.lcm(*lengths) <= FARTHEST * min(lengths)
    )
