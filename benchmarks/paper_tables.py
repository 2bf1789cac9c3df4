"""The DDIM paper's tables 1 and 2 (Song et al. 2020, arXiv 2010.02502), in kind, on the model that ships.

Table 2: held-out renders are encoded to x_T and decoded again, both in S steps at eta 0; the error is the mean
square per dimension, of latents (whose variance is 1) and of pixels in [0, 1] against the autoencoder's own picture.

Table 1: pictures of held-out captions, without guidance, for numbers of steps and eta. Their quality is the Frechet
distance (Heusel et al. 2017, arXiv 1706.08500, eq. 6) between the judge's features of the pictures and of held-out
renders, where the paper has Inception's features; lower is better. Beside it, how often a picture shows all that its
caption says.

    python benchmarks/paper_tables.py --folder runs [--plot docs/paper_tables.png]

Every figure is kept in FOLDER/paper_tables.json as soon as it is there: an interrupted run goes on from it. The folder
is the one of `python -m comfyui_ddim.demo.train` (it holds the judge, or gets one).
"""

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch
from comfyui_ddim.demo.classifier import Classifier
from comfyui_ddim.demo.evaluate import SHIPPED, draw, load_judge, score
from comfyui_ddim.demo.scenes import Scene, caption
from comfyui_ddim.demo.train_autoencoder import to_tensor
from comfyui_ddim.networks import LatentDiffusion, load_checkpoint
from comfyui_ddim.sampler import PRESETS, FixedPoint, ddim_steps, invert_steps, make_predictor

STEPS_BACK = (10, 20, 50, 100, 200)
STEPS, ETAS = (5, 10, 20, 50, 100), (0.0, 0.2, 0.5, 1.0)

log = logging.getLogger("paper_tables")


class Figures:
    """Numbers by name, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str, measure, *arguments) -> list[float]:
        """The figure of that name, measured if it isn't there."""
        if name not in self.values:
            self.values[name] = measure(*arguments)
            self.path.write_text(json.dumps(self.values, indent=1))
            log.info("%s: %s", name, self.values[name])
        return self.values[name]


@torch.no_grad()
def round_trip(model: LatentDiffusion, pictures: torch.Tensor, texts: list[str], steps: int) -> list[float]:
    """Mean square error per dimension of encode and decode in `steps` steps: of latents, and of pixels in [0, 1]."""
    schedule = PRESETS["exact"].schedule(model.alphas_cumprod, steps)
    errors = []
    for x, text in zip(pictures.split(64), np.array_split(texts, -(-len(texts) // 64)), strict=True):
        z = model.encode_picture(x) * model.scale_factor
        predict = make_predictor(model, schedule, len(x), model.encode_text(list(text)))
        for step in invert_steps(predict, z, schedule, FixedPoint(iterations=1)):
            back = step.x
        for step in ddim_steps(predict, back, schedule):
            back = step.x
        there, again = (model.decode_latent(each / model.scale_factor) for each in (z, back))
        errors.append([(back - z).square().mean().item(), ((again - there) / 2).square().mean().item()])
    return np.mean(errors, axis=0).tolist()


@torch.no_grad()
def features(judge: Classifier, pictures: torch.Tensor) -> np.ndarray:
    """The judge's last layer before its answers (n, 256), in float64."""
    return torch.cat([judge.features(part) for part in pictures.split(64)]).double().numpy()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The squared Frechet distance between the Gaussians of two sets of features (n, d)."""
    covariances = [np.cov(each, rowvar=False) for each in (a, b)]
    # The trace of a product's root is the sum of its eigenvalues' roots: real and not negative, but for rounding.
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(min=0)).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(means + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots)


def quality(
    model: LatentDiffusion, judge: Classifier, scenes: list[Scene], reference: np.ndarray, steps: int, eta: float
) -> list[float]:
    """Frechet distance, and the share of pictures right in all, for captions drawn without guidance."""
    pictures = draw(model, [caption(scene) for scene in scenes], steps, 1.0, eta, batch=64)
    return [frechet(features(judge, pictures), reference), score(judge, pictures, scenes).all]


def plot(back: list[list[float]], grid: dict[tuple[int, float], list[float]], path: Path) -> None:
    """Both tables as curves."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), dpi=110, layout="constrained")
    for column, name in enumerate(("latents", "pixels")):
        left.plot(STEPS_BACK, [row[column] for row in back], "o-", label=name)
    left.set(title="Encode, then decode", ylabel="mean square error per dimension", yscale="log")
    for eta in ETAS:
        right.plot(STEPS, [grid[s, eta][0] for s in STEPS], "o-", label=f"eta {eta:g}")
    right.set(title="Sample quality", ylabel="Frechet distance, judge's features")
    for axes, ticks in ((left, STEPS_BACK), (right, STEPS)):
        axes.set(xlabel="steps", xscale="log")
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def main() -> None:
    """Measure what isn't there yet, print both tables, and draw them if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="the judge, its renders, the figures")
    parser.add_argument("--pictures", type=int, default=64, help="how many are encoded for table 2 (%(default)s)")
    parser.add_argument("--samples", type=int, default=256, help="how many are drawn a cell of table 1 (%(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="table 1 with the UNet in bfloat16, twice as fast")
    parser.add_argument("--plot", type=Path, help="draw both tables to this file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    judge, renders, scenes = load_judge(arguments.folder, "cpu")
    model = load_checkpoint(SHIPPED)
    figures = Figures(arguments.folder / "paper_tables.json")

    count = arguments.pictures
    texts = [caption(scene) for scene in scenes[:count]]
    pictures = to_tensor(renders[:count])
    back = [figures.get(f"back {s} of {count}", round_trip, model, pictures, texts, s) for s in STEPS_BACK]
    print("\n| steps | " + " | ".join(map(str, STEPS_BACK)) + " |\n|---" + "|---" * len(STEPS_BACK) + "|")
    for column, name in enumerate(("latents", "pixels")):
        print(f"| {name} | " + " | ".join(f"{row[column]:.2g}" for row in back) + " |")

    count = arguments.samples
    reference = features(judge, to_tensor(renders))
    if arguments.bfloat16:
        model.model.to(torch.bfloat16)
    grid = {
        (s, eta): figures.get(f"quality {s} {eta} of {count}", quality, model, judge, scenes[:count], reference, s, eta)
        for s in STEPS
        for eta in ETAS
    }
    floor = frechet(features(judge, to_tensor(renders[:count])), reference)
    print(f"\n{count} renders against all {len(renders)}: {floor:.2f}")
    print("\n| eta | " + " | ".join(map(str, STEPS)) + " |\n|---" + "|---" * len(STEPS) + "|")
    for eta in ETAS:
        cells = [f"{grid[s, eta][0]:.2f} ({100 * grid[s, eta][1]:.0f} %)" for s in STEPS]
        print(f"| {eta:g} | " + " | ".join(cells) + " |")
    if arguments.plot:
        plot(back, grid, arguments.plot)


if __name__ == "__main__":
    main()
