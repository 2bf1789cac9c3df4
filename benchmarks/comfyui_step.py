"""What this pack adds to a step inside ComfyUI: its run beside ComfyUI's own sampler "ddim", on one model in one run.

The two take turns. Of every run two processor times are taken: of the network's calls, which are the same in both,
and of all around them, which are the samplers' and ComfyUI's. The ratio is that of a step with the network's time the
same in both, the median of all runs; so it doesn't feel how busy the machine was in whose turn. Beside it stands the
plain ratio of whole steps, which does. The model is the one that ships or, with --sd, a UNet of Stable Diffusion 1.5's
size with random weights.

    OMP_NUM_THREADS=1 python benchmarks/comfyui_step.py --comfyui DIR [--steps 20] [--rounds 15] [--sd] [--profile]
"""

import argparse
import cProfile
import logging
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

CFG, SEED = 5.0, 1


def load(folder: Path) -> None:
    """Makes ComfyUI's modules importable, on the CPU."""
    sys.path.insert(0, str(folder))
    logging.getLogger().setLevel(logging.ERROR)
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    import comfy.sample  # the pack sees by it that it is inside ComfyUI
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def shipped() -> tuple:
    """MODEL, two CONDITIONINGs and a latent of the model that ships."""
    from comfyui_ddim.hosts import host
    from comfyui_ddim.nodes.conditioning import encode

    model, clip, _ = host.load_checkpoint(host.checkpoints()[0])
    return model, encode(clip, "a large red sphere"), encode(clip, ""), torch.zeros(1, 4, 16, 16)


def stable_diffusion() -> tuple:
    """The same of Stable Diffusion 1.5's UNet with random weights, at 256 x 256 pixels."""
    import comfy.model_patcher
    import comfy.supported_models

    known = comfy.supported_models.SD15(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 320,
            "num_res_blocks": [2, 2, 2, 2],
            "channel_mult": (1, 2, 4, 4),
            "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            "transformer_depth_middle": 1,
            "context_dim": 768,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
            "use_temporal_attention": False,
            "legacy": False,
            "dtype": torch.float32,
        }
    )
    network = known.get_model({}, device="cpu")
    for weight in network.diffusion_model.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    cpu = torch.device("cpu")
    words = [[torch.randn(1, 77, 768), {}]]
    return comfy.model_patcher.ModelPatcher(network, cpu, cpu), words, words, torch.zeros(1, 4, 32, 32)


def contestants(model, positive: list, negative: list, latent: torch.Tensor, steps: int) -> dict[str, Callable]:
    """What to run, by name."""
    import comfy.sample
    import latent_preview
    from comfyui_ddim.hosts import host
    from comfyui_ddim.hosts.plan import Plan
    from comfyui_ddim.sampler import PRESETS

    plan = Plan(SEED, steps, scale=CFG, scheme=PRESETS["comfyui"])
    how = ("ddim", "ddim_uniform", positive, negative, latent)

    def theirs() -> torch.Tensor:
        callback = latent_preview.prepare_callback(model, steps)
        noise = comfy.sample.prepare_noise(latent, SEED)
        return comfy.sample.sample(model, noise, steps, CFG, *how, callback=callback, disable_pbar=True, seed=SEED)

    def ours() -> torch.Tensor:
        return host.sample(model, positive, negative, {"samples": latent}, plan)[0]["samples"]

    return {"ComfyUI's ddim": theirs, "DDIM Sampler": ours}


class Clock:
    """Processor seconds in a model's network, and how often it was called."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def __call__(self, apply_model: Callable, given: dict) -> torch.Tensor:
        """ComfyUI's place for a wrapper around the network."""
        start = time.process_time()
        x = apply_model(given["input"], given["timestep"], **given["c"])
        self.seconds, self.calls = self.seconds + time.process_time() - start, self.calls + 1
        return x


def measure(name: str, runs: dict[str, Callable], clock: Clock, steps: int, rounds: int) -> None:
    """Takes turns, and prints a line for each and the ratio of the two."""
    inside: dict[str, list[float]] = {each: [] for each in runs}
    around: dict[str, list[float]] = {each: [] for each in runs}
    a, b = (run() for run in runs.values())
    clock.calls = 0
    for i in range(rounds):
        for each in list(runs) if i % 2 else list(runs)[::-1]:
            clock.seconds, start = 0.0, time.process_time()
            runs[each]()
            total = time.process_time() - start
            inside[each].append(clock.seconds / steps * 1000)
            around[each].append((total - clock.seconds) / steps * 1000)
    print(f"{name}, {steps} steps, {rounds} rounds; the results are {(a - b).abs().max():.1e} apart")
    for each in runs:
        own = statistics.median(around[each])
        print(f"  {each:14} {statistics.median(inside[each]):9.3f} ms a step in the network, {own:.3f} ms around it")
    network = statistics.median([ms for each in inside.values() for ms in each])
    theirs, ours = (network + statistics.median(each) for each in around.values())
    print(f"  {clock.calls} calls; ratio {ours / theirs:.4f}, {(ours - theirs) * 1000:+.0f} us a step")
    theirs, ours = ([sum(parts) for parts in zip(inside[each], around[each], strict=True)] for each in runs)
    medians = statistics.median(ours) / statistics.median(theirs)
    print(f"  whole steps as timed: ratio {medians:.4f} of the medians, {min(ours) / min(theirs):.4f} of the best")


@torch.inference_mode()
def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI checkout")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sd", action="store_true", help="a UNet of Stable Diffusion 1.5's size in place of ours")
    parser.add_argument("--profile", action="store_true", help="show where our own time goes instead")
    args = parser.parse_args()
    torch.manual_seed(0)
    load(args.comfyui)
    name, made = ("a UNet of SD 1.5's size", stable_diffusion()) if args.sd else ("the shipped model", shipped())
    clock, model = Clock(), made[0].clone()
    model.set_model_unet_function_wrapper(clock)
    runs = contestants(model, *made[1:], args.steps)
    if args.profile:
        ours = runs["DDIM Sampler"]
        ours()
        with cProfile.Profile() as profile:
            ours()
        pstats.Stats(profile).sort_stats("cumulative").print_stats("comfyui_ddim|main|comfy", 40)
        return
    measure(name, runs, clock, args.steps, args.rounds)


if __name__ == "__main__":
    main()
