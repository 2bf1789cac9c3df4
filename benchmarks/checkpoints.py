"""Full-size Stable Diffusion checkpoints on this machine: load time, memory, a step at 512 x 512, a run at 256 x 256.

Random weights in the published layouts are written as float16 safetensors files once (2.1 and 2.6 GB). Then every
candidate runs in turn, each time in a process of its own, with classifier-free guidance, at its own defaults but for
the dtype where its name has one; for each figure its best repeat counts. ComfyUI takes part where a checkout of
it is named.

    python benchmarks/checkpoints.py FOLDER [--comfyui DIR] [--python PATH] [--threads 2] [--repeats 2] [--layouts 1 2]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STEPS, SCALE, PROMPT = 20, 7.5, "a photograph of an astronaut riding a horse"
UNIT = {"start": "s", "load": "s", "run": "s", "step": "s", "all": "s", "memory": "GiB"}
TITLES = {
    "start": "imports",
    "load": "load",
    "run": f"text, {STEPS} steps at 256 x 256, picture",
    "step": "one step at 512 x 512",
    "all": "imports, load and run",
    "memory": "peak memory",
}


def write_layouts(folder: Path, layouts: list[str]) -> dict[str, Path]:
    """The files by layout, written where they aren't there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {layout: folder / f"stable-diffusion-{layout}.safetensors" for layout in layouts}
    for layout, path in files.items():
        if not path.is_file():
            print(f"writing {path}", file=sys.stderr)
            write_layout(layout, path)
    return files


def write_layout(layout: str, path: Path) -> None:
    """Random weights that keep the size of what passes through them, with the published names."""
    import torch
    from comfyui_ddim.networks import LatentDiffusion, ModelConfig, TextConfig, UNetConfig
    from safetensors.torch import save_file

    config = ModelConfig()
    if layout == "2":
        unet = UNetConfig(context=1024, head_width=64, linear_projection=True)
        config = ModelConfig(unet=unet, text=TextConfig(width=1024, layers=24, heads=16, inner=4096))
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LatentDiffusion(config).state_dict().items()}
    generator = torch.Generator().manual_seed(0)

    def values(name: str, shape: torch.Size) -> torch.Tensor:
        if len(shape) < 2:
            return torch.full(shape, float(name.endswith("weight")), dtype=torch.float16)
        spread = 0.02 if "embedding" in name else (3 / shape[1:].numel()) ** 0.5
        return torch.empty(shape).uniform_(-spread, spread, generator=generator).half()

    tensors = {name: values(name, shape) for name, shape in shapes.items()}
    save_file(open_clip(tensors) if layout == "2" else tensors, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def open_clip(tensors: dict) -> dict:
    """The text encoder's tensors with the names, and the joined projections, of Stable Diffusion 2.x files."""
    import torch

    clip, theirs = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
    own = {name.removeprefix(clip): tensor for name, tensor in tensors.items() if name.startswith(clip)}
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(clip)}
    found[f"{theirs}token_embedding.weight"] = own["embeddings.token_embedding.weight"]
    found[f"{theirs}positional_embedding"] = own["embeddings.position_embedding.weight"]
    found[f"{theirs}text_projection"] = torch.eye(1024, dtype=torch.float16)
    for end in ("weight", "bias"):
        found[f"{theirs}ln_final.{end}"] = own[f"final_layer_norm.{end}"]
        for i in range(24):
            layer, block = f"encoder.layers.{i}.", f"{theirs}transformer.resblocks.{i}."
            joined = [own[f"{layer}self_attn.{part}_proj.{end}"] for part in "qkv"]
            found[f"{block}attn.in_proj_{end}"] = torch.cat(joined)
            found[f"{block}attn.out_proj.{end}"] = own[f"{layer}self_attn.out_proj.{end}"]
            for ours, other in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2")):
                found[f"{block}{other}.{end}"] = own[f"{layer}{ours}.{end}"]
            for ours, other in (("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
                found[f"{block}{other}.{end}"] = own[f"{layer}{ours}.{end}"]
    return found


@dataclass(frozen=True)
class Candidate:
    """How to load a file, and with what that gives to run steps: `sample(steps, side) -> picture or latent`."""

    load: Callable[[Path], object]
    sample: Callable[[object, int, int, bool], object]


def ours(dtype: str | None) -> Candidate:
    """This package."""
    import torch
    from comfyui_ddim.networks import DiffusionRun, load_checkpoint
    from comfyui_ddim.sampler import Guidance, ddim_steps, make_predictor, make_schedule

    def sample(model: object, steps: int, side: int, picture: bool) -> object:
        schedule = make_schedule(model.alphas_cumprod, steps)
        text = model.encode_text([PROMPT, ""])
        running = DiffusionRun(model, schedule.timesteps)
        predict = make_predictor(running, schedule, 1, text[:1], text[1:], Guidance(SCALE))
        for step in ddim_steps(predict, torch.randn(1, 4, side // 8, side // 8), schedule):
            state = step.x
        return model.decode_latent(state / model.scale_factor) if picture else state

    return Candidate(lambda path: load_checkpoint(path, "cpu", dtype and getattr(torch, dtype)), sample)


def diffusers(dtype: str | None = None) -> Candidate:
    """diffusers, loading the same file; its tokenizer is left out, since that would have to be downloaded."""
    import torch
    from diffusers import StableDiffusionPipeline

    def load(path: Path) -> object:
        return StableDiffusionPipeline.from_single_file(
            str(path),
            config=str(diffusers_config(path)),
            torch_dtype=dtype and getattr(torch, dtype),
            tokenizer=None,
            safety_checker=None,
            feature_extractor=None,
            local_files_only=True,
        )

    @torch.no_grad()
    def sample(pipeline: object, steps: int, side: int, picture: bool) -> object:
        pipeline.set_progress_bar_config(disable=True)
        words = torch.tensor([[49406, 320, 1125, 539, *[49407] * 73], [49406, *[49407] * 76]])
        text = pipeline.text_encoder(words)[0]
        return pipeline(
            prompt_embeds=text[:1],
            negative_prompt_embeds=text[1:],
            num_inference_steps=steps,
            guidance_scale=SCALE,
            height=side,
            width=side,
            output_type="pt" if picture else "latent",
        )

    return Candidate(load, sample)


def diffusers_config(path: Path) -> Path:
    """The configuration that diffusers wants beside a file, written once, of sizes alone."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from torch import device
    from transformers import CLIPTextConfig

    folder = path.with_name(f"{path.stem}-config")
    if (folder / "model_index.json").is_file():
        return folder
    second = path.stem.endswith("2")
    unet = {"cross_attention_dim": 768, "attention_head_dim": 8}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    if second:
        unet = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
        text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
        text |= {"hidden_act": "gelu", "projection_dim": 512}
    with device("meta"):
        UNet2DConditionModel(sample_size=64, **unet).save_config(folder / "unet")
        sizes = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512}
        kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
        AutoencoderKL(**sizes, **kinds).save_config(folder / "vae")
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False).save_config(folder / "scheduler")
    CLIPTextConfig(**text, architectures=["CLIPTextModel"]).save_pretrained(folder / "text_encoder")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": [None, None],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def comfyui(bfloat16: bool = False) -> Candidate:
    """ComfyUI, from the checkout on the path; `bfloat16` for its UNet and autoencoder is as by its switches."""
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.bf16_unet = comfy.cli_args.args.bf16_vae = bfloat16
    import comfy.sample
    import comfy.sd

    def load(path: Path) -> object:
        return comfy.sd.load_checkpoint_guess_config(str(path), output_vae=True, output_clip=True)[:3]

    @torch.inference_mode()
    def sample(parts: object, steps: int, side: int, picture: bool) -> object:
        model, clip, vae = parts
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (PROMPT, ""))
        latent = torch.zeros(1, 4, side // 8, side // 8)
        noise = torch.randn(latent.shape)
        state = comfy.sample.sample(
            model, noise, steps, SCALE, "ddim", "ddim_uniform", positive, negative, latent, seed=0, disable_pbar=True
        )
        return vae.decode(state) if picture else state

    return Candidate(load, sample)


CANDIDATES = {
    "this package": lambda: ours(None),
    "this package, float32": lambda: ours("float32"),
    "diffusers": diffusers,
    "diffusers, bfloat16": lambda: diffusers("bfloat16"),
    "ComfyUI": comfyui,
    "ComfyUI, bfloat16": lambda: comfyui(bfloat16=True),
}


def measure(name: str, path: Path, threads: int) -> dict[str, float]:
    """One candidate's figures, in this process."""
    began = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    candidate = CANDIDATES[name]()
    imported = time.perf_counter()
    loaded = candidate.load(path)
    ready = time.perf_counter()
    candidate.sample(loaded, STEPS, 256, True)
    done = time.perf_counter()
    memory = peak_memory()
    candidate.sample(loaded, 1, 512, False)
    start = time.perf_counter()
    candidate.sample(loaded, 1, 512, False)
    return {
        "start": imported - began,
        "load": ready - imported,
        "run": done - ready,
        "step": time.perf_counter() - start,
        "all": done - began,
        "memory": max(memory, peak_memory()),
    }


def peak_memory() -> float:
    """The most memory that this process has had, in GiB, pages of mapped files included."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM")) / 1024**2


def measured(name: str, path: Path, args: argparse.Namespace) -> dict[str, float]:
    """The figures from a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads), HF_HUB_OFFLINE="1")
    if name.startswith("ComfyUI"):
        environment["PYTHONPATH"] = os.pathsep.join([str(args.comfyui), environment.get("PYTHONPATH", "")])
    python = args.python if name.startswith("ComfyUI") else sys.executable
    command = [python, __file__, str(path), "--measure", name, "--threads", str(args.threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} on {path.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures and prints a table per layout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the files are, or are written")
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="a checkout of ComfyUI")
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="the Python that ComfyUI runs in")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layouts", nargs="+", choices=("1", "2"), default=["1", "2"])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.folder, args.threads)))
        return
    names = [name for name in args.candidates if args.comfyui or not name.startswith("ComfyUI")]
    for layout, path in write_layouts(args.folder, args.layouts).items():
        best: dict[str, dict[str, float]] = {}
        for _ in range(args.repeats):
            for name in names:
                figures = measured(name, path, args)
                print(name, {figure: round(value, 2) for figure, value in figures.items()}, file=sys.stderr)
                best[name] = {figure: min(value, best.get(name, figures)[figure]) for figure, value in figures.items()}
        print(f"\nStable Diffusion {layout}.x\n\n| | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
        for figure, title in TITLES.items():
            print(f"| {title}, {UNIT[figure]} | " + " | ".join(f"{best[name][figure]:.1f}" for name in names) + " |")


if __name__ == "__main__":
    main()
