"""How often the model that ships shows what its prompt says: `python -m comfyui_ddim.demo.evaluate --help`.

The judge is a classifier trained on renders alone, on the spot if the folder holds none, and itself judged on
renders that nothing was trained on.
"""

import argparse
import logging
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..networks import ControlledDiffusion, LatentDiffusion, load_checkpoint, load_controlnet
from ..sampler import PRESETS, Guidance, KeyedNoise, PerStep, ddim_steps, make_predictor
from . import SHIPPED, SHIPPED_CONTROL
from .classifier import Classifier, accuracy, train_classifier
from .data import training_set
from .loop import Budget
from .outlines import outline
from .scenes import FLOORS, PAINTS, SHAPES, SIZES, SKIES, Scene, Solid, caption, contact_sheet
from .train import HELD_OUT, round_trips
from .train_autoencoder import psnr, to_tensor
from .train_control import hints
from .words import labels

__all__ = ["Score", "draw", "prompt_grid", "score"]

KINDS = ("colour", "shape", "size", "place", "floor", "sky")
COLUMNS = ("colour", "binding", *KINDS[1:], "all")


def prompt_grid() -> list[Scene]:
    """224 scenes that together name everything evenly: 112 with one solid, 112 with two of different colours."""
    floors, skies, paints, sizes = list(FLOORS), list(SKIES), list(PAINTS), list(SIZES)
    scenes = []
    for i, (shape, paint, size, turn) in enumerate(product(SHAPES, paints, sizes, (0, 1))):
        single = Solid(shape, paint, size, x=(-1.15, 0.0, 1.15)[i % 3], y=0.0)
        scenes.append(Scene((single,), floors[i % len(floors)], skies[(i // 2 + turn) % len(skies)]))
        other_paint = paints[(paints.index(paint) + 1 + i % (len(paints) - 1)) % len(paints)]
        other = Solid(SHAPES[(i + i // 4) % len(SHAPES)], other_paint, sizes[(i // 3) % 2], x=1.08, y=0.0)
        left = Solid(shape, paint, size, x=-1.08, y=0.0)
        scenes.append(Scene((left, other), floors[(i + 2) % len(floors)], skies[i % len(skies)]))
    return scenes


@torch.no_grad()
def draw(
    model: LatentDiffusion,
    prompts: list[str],
    steps: int,
    scale: PerStep,
    eta: PerStep = 0.0,
    seed: int = 0,
    batch: int = 32,
    control: tuple[ControlledDiffusion, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Pictures (n, 3, 128, 128) in [-1, 1] of prompts; picture i has the noise of sample i, whatever the batch size.

    `control` is the model with its ControlNet, and the hints (n, 3, 128, 128).
    """
    pictures = []
    for first in range(0, len(prompts), batch):
        part = prompts[first : first + batch]
        schedule = PRESETS["exact"].schedule(model.alphas_cumprod, steps, eta)
        noise = KeyedNoise.batch(seed, len(part), first)
        x = noise.normal((len(part), 4, 16, 16), "start", 0, model.device)
        cond, uncond = model.encode_text(part), model.encode_text([""] * len(part))
        if control:
            hint = control[1][first : first + batch].to(model.device)
            cond, uncond = ({"c_crossattn": [text], "c_concat": [hint]} for text in (cond, uncond))
        asked = control[0] if control else model
        predict = make_predictor(asked, schedule, len(part), cond, uncond, Guidance(scale))
        for step in ddim_steps(predict, x, schedule, noise=noise):
            x = step.x
        pictures.append(model.decode_latent(x / model.scale_factor).cpu())
    return torch.cat(pictures)


@dataclass(frozen=True)
class Score:
    """Shares of pictures, 0 to 1, in which all that the prompt says of each kind is right; `all` in every respect.

    `binding` is the share of those in which no solid has the colour that the prompt gives to the other one.
    """

    count: int
    colour: float
    binding: float
    shape: float
    size: float
    place: float
    floor: float
    sky: float
    all: float


def score(judge: Classifier, pictures: torch.Tensor, scenes: list[Scene]) -> Score:
    """Judge pictures (n, 3, 128, 128) in [-1, 1] of scenes; with two solids both must be right."""
    rows, judged = [], judge.labels(pictures)
    for seen, scene in zip(judged, scenes, strict=True):
        said = labels(scene)
        right = {name: seen[name] == said[name] for name in said}
        kinds = {kind: right[f"left {kind}"] and right[f"right {kind}"] for kind in ("colour", "shape", "size")}
        rows.append({**kinds, "place": right["count"] and right["place"], "floor": right["floor"], "sky": right["sky"]})
    share = {name: float(np.mean([row[name] for row in rows])) for name in KINDS}
    bound = float(np.mean([_bound(seen, scene) for seen, scene in zip(judged, scenes, strict=True)]))
    return Score(len(rows), **share, binding=bound, all=float(np.mean([all(row.values()) for row in rows])))


def _bound(seen: dict[str, str], scene: Scene) -> bool:
    left, right = scene.solids[0].paint, scene.solids[-1].paint
    return left == right or (seen["left colour"] != right and seen["right colour"] != left)


def main(argv: list[str] | None = None) -> None:
    """Print the table and, if asked, write a contact sheet."""
    parser = argparse.ArgumentParser(prog="python -m comfyui_ddim.demo.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help="the model to judge (the one that ships)")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs"), help="where the judge and its data are kept (%(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="sampling steps (%(default)s)")
    parser.add_argument("--cfg", type=float, default=3.0, help="guidance scale (%(default)s)")
    parser.add_argument("--eta", type=float, default=0.0, help="0 is DDIM, 1 is DDPM (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how many pictures of each prompt (%(default)s)")
    parser.add_argument(
        "--outline",
        type=Path,
        nargs="?",
        const=SHIPPED_CONTROL,
        help="judge a ControlNet instead (the one that ships): how often pictures show what was drawn",
    )
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first pictures here")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: expected at least 1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    judge, held_out, held_out_scenes = load_judge(arguments.folder, arguments.device)
    own = accuracy(judge, to_tensor(held_out).to(arguments.device), held_out_scenes)
    print(f"the judge on {len(held_out)} renders: at least {100 * min(own.values()):.1f} % right in every label")
    model = load_checkpoint(arguments.checkpoint, arguments.device)
    trips = round_trips(model.first_stage_model, held_out[:512], arguments.device)
    kept = accuracy(judge, trips.to(arguments.device), held_out_scenes[:512])
    worst = min(kept, key=kept.get)
    decibels = psnr(trips, to_tensor(held_out[:512])).mean()
    print(
        f"autoencoder round trip of 512 renders: {decibels:.1f} dB, at least {100 * kept[worst]:.1f} % right ({worst})"
    )

    if arguments.outline:
        judge_outlines(judge, model, arguments)
        return
    pictures = judge_prompts(judge, model, arguments)
    if arguments.sheet:
        write_sheet(pictures, arguments.sheet)


def judge_prompts(judge: Classifier, model: LatentDiffusion, arguments: argparse.Namespace) -> torch.Tensor:
    """Print how often pictures show what the prompts say; returns those of the first seed."""
    scenes, steps, scale, eta = prompt_grid(), arguments.steps, arguments.cfg, arguments.eta
    captions = [caption(scene) for scene in scenes]
    pictures = [draw(model, captions, steps, scale, eta, seed) for seed in range(arguments.seeds)]
    on_device = torch.cat(pictures).to(arguments.device)
    scenes *= arguments.seeds
    print(f"\n{steps} steps, eta {eta}, guidance scale {scale}, {arguments.seeds} seeds\n")
    print("| prompts | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    for title, counts in (("one solid", (1,)), ("two solids", (2,)), ("all", (1, 2))):
        chosen = [i for i, scene in enumerate(scenes) if len(scene.solids) in counts]
        result = score(judge, on_device[chosen], [scenes[i] for i in chosen])
        cells = [f"{100 * getattr(result, name):.1f} %" for name in COLUMNS]
        print(f"| {title} ({result.count}) | " + " | ".join(cells) + " |", flush=True)
    return pictures[0]


def judge_outlines(judge: Classifier, model: LatentDiffusion, arguments: argparse.Namespace) -> None:
    """Print how often pictures show the solids that were drawn: by the drawing alone, and with the prompt as well."""
    scenes = prompt_grid()
    drawings = np.stack([outline(scene) for scene in scenes])
    control = ControlledDiffusion(model, load_controlnet(arguments.outline, arguments.device)), hints(drawings)
    captions, nothing = [caption(scene) for scene in scenes], [""] * len(scenes)
    print(f"\n{arguments.steps} steps, eta {arguments.eta}, guidance scale {arguments.cfg} with the prompt\n")
    print("| | " + " | ".join(KINDS) + " |\n" + "|---" * (len(KINDS) + 1) + "|")
    for title, prompts, scale, hint in (
        ("neither", nothing, 1.0, None),
        ("the drawing", nothing, 1.0, control),
        ("the prompt", captions, arguments.cfg, None),
        ("both", captions, arguments.cfg, control),
    ):
        pictures = draw(model, prompts, arguments.steps, scale, arguments.eta, control=hint)
        result = score(judge, pictures.to(arguments.device), scenes)
        print(f"| {title} | " + " | ".join(f"{100 * getattr(result, name):.1f} %" for name in KINDS) + " |", flush=True)
        if arguments.sheet and hint:
            write_sheet(pictures, arguments.sheet.with_stem(f"{arguments.sheet.stem}-{title.split()[-1]}"))


def load_judge(folder: Path, device: str) -> tuple[Classifier, np.ndarray, list[Scene]]:
    """The classifier, trained if need be (minutes on two cores), and the renders that it never saw."""
    held_out, held_out_scenes = training_set(folder, 2048, HELD_OUT)
    path = folder / "classifier.pt"
    if path.exists():
        judge = Classifier().to(device, memory_format=torch.channels_last)
        judge.load_state_dict(torch.load(path, map_location=device, weights_only=True)["network"])
        return judge.eval(), held_out, held_out_scenes
    pictures, scenes = training_set(folder, 8192, 0)
    return train_classifier(pictures, scenes, Budget(180, 2e-3), path, device, 0), held_out, held_out_scenes


def write_sheet(pictures: torch.Tensor, path: Path, count: int = 48, columns: int = 12) -> None:
    """Write `count` pictures, evenly spread over those given, as one."""
    chosen = pictures[np.linspace(0, len(pictures) - 1, count).round().astype(int)]
    pixels = ((chosen + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    Image.fromarray(contact_sheet(list(pixels), columns)).save(path)


if __name__ == "__main__":
    main()
