"""Train the model and the ControlNet that ship, from nothing or further: `python -m comfyui_ddim.demo.train --help`."""

import argparse
import logging
from pathlib import Path

import torch

from ..atomic import replacing
from ..networks import Autoencoder, LatentDiffusion, load_checkpoint, save_checkpoint, save_controlnet
from .classifier import accuracy, train_classifier
from .data import training_set
from .loop import Budget
from .train_autoencoder import latent_means, psnr, to_tensor, train_autoencoder, train_decoder
from .train_control import drawings_of, train_control
from .train_diffusion import MODEL, NoiseLevels, finished, standardise, train_text, train_unet, untrained

log = logging.getLogger(__name__)

HELD_OUT = 900_001  # the seed of scenes that no network is trained on


def main(argv: list[str] | None = None) -> None:
    """Render, train each network in turn, write both files; what was done before in the folder is gone on from."""
    parser = argparse.ArgumentParser(prog="python -m comfyui_ddim.demo.train", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs"), help="where data, states and results are kept (%(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=130, help="time to train the model, rendering aside (%(default)s)"
    )
    parser.add_argument("--scenes", type=int, default=16384, help="how many scenes to render (%(default)s)")
    parser.add_argument(
        "--control-minutes", type=float, default=45, help="time to train the ControlNet, 0 for none (%(default)s)"
    )
    parser.add_argument("--control-scenes", type=int, default=4096, help="how many scenes to draw (%(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="a finished model: only the ControlNet is trained, over it")
    parser.add_argument(
        "--refine",
        type=Path,
        help="a finished model to train further for --minutes, its autoencoder left as it is; of --scenes, two thirds "
        "are harder: two solids that are easily taken for each other",
    )
    parser.add_argument(
        "--sharpen",
        type=Path,
        help="a finished model whose decoder is trained further for --minutes; all else is left as it is",
    )
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and noise (%(default)s)")
    arguments = parser.parse_args(argv)
    models = {option: getattr(arguments, option) for option in ("checkpoint", "refine", "sharpen")}
    models = {option: path for option, path in models.items() if path}
    for option, path in models.items():
        if not path.is_file():
            parser.error(f"--{option} {path}: no such file, expected a finished model")
    if len(models) > 1:
        parser.error(f"{' and '.join(f'--{option}' for option in models)}: expected one of them")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder, device, seed = arguments.folder, arguments.device, arguments.seed
    checkpoint = arguments.checkpoint or folder / "ddim-scenes.safetensors"
    if arguments.refine:
        refine(folder, arguments.refine, checkpoint, device, 60 * arguments.minutes, arguments.scenes, seed)
    elif arguments.sharpen:
        sharpen(folder, arguments.sharpen, checkpoint, device, 60 * arguments.minutes, arguments.scenes, seed)
    elif not arguments.checkpoint:
        build(folder, checkpoint, device, 60 * arguments.minutes, arguments.scenes, seed)
    if arguments.control_minutes:
        output = folder / "ddim-scenes-outline.safetensors"
        build_control(
            folder, checkpoint, output, device, 60 * arguments.control_minutes, arguments.control_scenes, seed
        )


def build(folder: Path, output: Path, device: str, seconds: float, count: int, seed: int) -> None:
    """Spend `seconds` of training on `device`: 2 % on the judge, 30 % autoencoder, 2 % text, 66 % UNet."""
    pictures, scenes = training_set(folder, count, seed)
    held_out, held_out_scenes = training_set(folder, 2048, HELD_OUT)
    judge_budget = Budget(0.02 * seconds, 2e-3)
    judge = train_classifier(pictures, scenes, judge_budget, folder / "classifier.pt", device, seed)
    report("judge on renders", accuracy(judge, to_tensor(held_out).to(device), held_out_scenes))

    autoencoder_budget = Budget(0.30 * seconds, 8e-4, average=0.995)
    autoencoder = train_autoencoder(pictures, scenes, autoencoder_budget, folder / "autoencoder.pt", device, seed)
    trips = round_trips(autoencoder, held_out[:512], device)
    log.info("round trip: %.2f dB", psnr(trips, to_tensor(held_out[:512])).mean())
    report("judge on round trips", accuracy(judge, trips.to(device), held_out_scenes[:512]))

    means = latents_of(autoencoder, pictures, folder / "latents.pt", device)
    autoencoder, shift, gain = standardise(autoencoder.cpu(), means, MODEL.scale_factor)
    latents = (means - shift[:, None, None]) * gain[:, None, None] * MODEL.scale_factor
    text = train_text(scenes, Budget(0.02 * seconds, 1e-3), folder / "text.pt", device, seed)
    unet_budget = Budget(0.66 * seconds, 1e-3, warmup=200)
    both = train_unet(untrained(text, device, seed), latents, scenes, unet_budget, folder / "unet.pt", device, seed)
    export(autoencoder, both, output)
    log.info("wrote %s", output)


def refine(
    folder: Path, finished_model: Path, output: Path, device: str, seconds: float, count: int, seed: int
) -> None:
    """Spend `seconds` on training a finished model's UNet and text transformer further, mostly on hard scenes.

    Two batches make a step, each computed by one thread.
    """
    model = load_checkpoint(finished_model, device, torch.float32)
    latents, scenes = [], []
    for hard, part in ((True, count - count // 3), (False, count // 3)):
        pictures, of = training_set(folder, part, seed, hard=hard)
        means = latents_of(model.first_stage_model, pictures, folder / f"refined-{hard:d}-{seed}-{part}.pt", device)
        latents.append(means * model.scale_factor)
        scenes += of
    budget, levels = Budget(seconds, 2.5e-4, warmup=20, workers=2), NoiseLevels(boost=5.0, beginning=0.75)
    both, path = finished(model, device), folder / "refined.pt"
    both = train_unet(both, torch.cat(latents), scenes, budget, path, device, seed, batch=16, levels=levels)
    export(model.first_stage_model, both, output)
    log.info("wrote %s", output)


def sharpen(
    folder: Path, finished_model: Path, output: Path, device: str, seconds: float, count: int, seed: int
) -> None:
    """Spend `seconds` on training a finished model's decoder further; latents stay, so UNet and ControlNet do too.

    Two batches make a step, each computed by one thread.
    """
    model = load_checkpoint(finished_model, device, torch.float32)
    pictures, _ = training_set(folder, count, seed)
    means = latents_of(model.first_stage_model, pictures, folder / f"sharpened-{seed}-{count}.pt", device)
    budget, path = Budget(seconds, 1e-4, warmup=50, average=0.995, workers=2), folder / "decoder.pt"
    model.first_stage_model = train_decoder(model.first_stage_model, means.to(device), pictures, budget, path, seed)
    save_checkpoint(model.cpu(), output)
    log.info("wrote %s", output)


def build_control(
    folder: Path, checkpoint: Path, output: Path, device: str, seconds: float, count: int, seed: int
) -> None:
    """Spend `seconds` on a ControlNet that follows line drawings, over a finished model."""
    pictures, scenes = training_set(folder, count, seed)
    model = load_checkpoint(checkpoint, device)
    drawings = drawings_of(scenes, folder / f"drawings-{seed}-{count}.npy")
    means = latents_of(model.first_stage_model, pictures, folder / f"control-means-{seed}-{count}.pt", device)
    latents = means * model.scale_factor
    budget = Budget(seconds, 5e-4, warmup=50, average=0.99)
    net = train_control(model, latents, drawings, scenes, budget, folder / "control.pt", device, seed)
    save_controlnet(net, output)
    log.info("wrote %s", output)


def latents_of(autoencoder: Autoencoder, pictures, path: Path, device: str) -> torch.Tensor:
    """Latents (n, 4, 16, 16) of the training pictures, kept at `path`."""
    if not path.exists():
        with replacing(path) as part:
            torch.save(latent_means(autoencoder, pictures, device), part)
    return torch.load(path, weights_only=True)


@torch.no_grad()
def round_trips(autoencoder: Autoencoder, pictures, device: str, batch: int = 16) -> torch.Tensor:
    """Pictures (n, h, w, 3) uint8 encoded and decoded again: (n, 3, h, w) in [-1, 1]."""
    results = []
    for i in range(0, len(pictures), batch):
        x = to_tensor(pictures[i : i + batch]).to(device, memory_format=torch.channels_last)
        results.append(autoencoder.decode(autoencoder.encode(x)).clamp(-1, 1).cpu())
    return torch.cat(results)


def export(autoencoder: Autoencoder, both: torch.nn.ModuleDict, path: Path) -> None:
    """Write the trained networks as one checkpoint of the published layout."""
    model = LatentDiffusion(MODEL)
    model.first_stage_model.load_state_dict(autoencoder.cpu().state_dict())
    model.model.diffusion_model.load_state_dict(both["unet"].cpu().state_dict())
    model.cond_stage_model.transformer.load_state_dict(both["text"].cpu().state_dict())
    save_checkpoint(model, path)


def report(title: str, shares: dict[str, float]) -> None:
    """Log one line of shares in percent."""
    log.info("%s: %s", title, ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items()))


if __name__ == "__main__":
    main()
