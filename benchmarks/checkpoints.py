"""Full-size Stable Diffusion checkpoints on this machine, beside diffusers, ComfyUI and OpenVINO: time and memory.

Random weights in the published layouts are written as float16 safetensors files once (2.1 and 2.6 GB). Then every
candidate runs in turn, each time in a process of its own, with classifier-free guidance; for each figure its best
repeat counts. After the table stand the ratios of this package's best to each of the others in the same dtype.
ComfyUI takes part where a checkout of it is named, OpenVINO where it is installed: it is given diffusers' UNet and
decoder, converted by its own `convert_model` once into FOLDER, which takes minutes and some 10 GiB. --quick leaves out
what takes longest, the run of 20 steps. --busy is for a machine that does something else too: steps and pictures are
given in processor time, divided by the threads.

    python benchmarks/checkpoints.py FOLDER [--comfyui DIR] [--python PATH] [--threads 2] [--repeats 3] [--layouts 1 2]
        [--dtypes NAME ...] [--quick] [--busy] [--candidates NAME ...]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

STEPS, FEW, SCALE, PROMPT = 20, 4, 7.5, "a photograph of an astronaut riding a horse"
UNIT = {"memory_run": "GiB", "memory": "GiB"}
TITLES = {
    "start": "imports",
    "load": "load",
    "run": f"text, {STEPS} steps at 256 x 256, picture",
    "step256": f"one of {FEW} steps at 256 x 256",
    "first512": "the first step at 512 x 512",
    "step512": "one step at 512 x 512",
    "decode": "autoencoder, to 512 x 512",
    "all": "imports, load and run",
    "memory_run": "peak memory until then",
    "memory": "peak memory in all",
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
    """How to load a file, and with what that gives to encode the text and to run steps.

    `sample` takes what was loaded, the texts, steps, side and whether to decode; `decode` makes a picture of a latent
    (1, 4, h, w). One without `whole` can't make a picture from a text.
    """

    load: Callable[[Path], object]
    text: Callable[[object], object]
    sample: Callable[[object, object, int, int, bool], object]
    decode: Callable[[object, object], object]
    whole: bool = True


def ours(dtype: str, engine: str = "torch") -> Candidate:
    """This package."""
    import torch
    from comfyui_ddim.networks import DiffusionRun, load_checkpoint, use_openvino

    def load(path: Path) -> object:
        model = load_checkpoint(path, "cpu", getattr(torch, dtype))
        if engine == "openvino":
            use_openvino(model, path.parent)
        return model

    from comfyui_ddim.sampler import Guidance, ddim_steps, make_predictor, make_schedule

    def sample(model: object, text: torch.Tensor, steps: int, side: int, picture: bool) -> object:
        schedule = make_schedule(model.alphas_cumprod, steps)
        running = DiffusionRun(model, schedule.timesteps)
        predict = make_predictor(running, schedule, 1, text[:1], text[1:], Guidance(SCALE))
        for step in ddim_steps(predict, torch.randn(1, 4, side // 8, side // 8), schedule):
            state = step.x
        return model.decode_latent(state / model.scale_factor) if picture else state

    def text(model: object) -> torch.Tensor:
        return model.encode_text([PROMPT, ""])

    return Candidate(load, text, sample, lambda model, latent: model.decode_latent(latent))


def diffusers(dtype: str) -> Candidate:
    """diffusers, loading the same file; its tokenizer is left out, since that would have to be downloaded."""
    import torch
    from diffusers import StableDiffusionPipeline

    def load(path: Path) -> object:
        return StableDiffusionPipeline.from_single_file(
            str(path),
            config=str(diffusers_config(path)),
            torch_dtype=getattr(torch, dtype),
            tokenizer=None,
            safety_checker=None,
            feature_extractor=None,
            local_files_only=True,
        )

    @torch.no_grad()
    def text(pipeline: object) -> torch.Tensor:
        return pipeline.text_encoder(torch.tensor(WORDS))[0]

    @torch.no_grad()
    def sample(pipeline: object, text: torch.Tensor, steps: int, side: int, picture: bool) -> object:
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(
            prompt_embeds=text[:1],
            negative_prompt_embeds=text[1:],
            num_inference_steps=steps,
            guidance_scale=SCALE,
            height=side,
            width=side,
            output_type="pt" if picture else "latent",
        )

    @torch.no_grad()
    def decode(pipeline: object, latent: torch.Tensor) -> torch.Tensor:
        return pipeline.vae.decode(latent.to(pipeline.vae.dtype)).sample

    return Candidate(load, text, sample, decode)


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


def comfyui(dtype: str) -> Candidate:
    """ComfyUI, from the checkout on the path; bfloat16 for its UNet and autoencoder is as by its switches."""
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.bf16_unet = comfy.cli_args.args.bf16_vae = dtype == "bfloat16"
    import comfy.sample
    import comfy.sd

    def load(path: Path) -> object:
        return comfy.sd.load_checkpoint_guess_config(str(path), output_vae=True, output_clip=True)[:3]

    @torch.inference_mode()
    def text(parts: object) -> list:
        clip = parts[1]
        return [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (PROMPT, "")]

    @torch.inference_mode()
    def sample(parts: object, text: list, steps: int, side: int, picture: bool) -> object:
        (model, _, vae), (positive, negative) = parts, text
        latent = torch.zeros(1, 4, side // 8, side // 8)
        noise = torch.randn(latent.shape)
        state = comfy.sample.sample(
            model, noise, steps, SCALE, "ddim", "ddim_uniform", positive, negative, latent, seed=0, disable_pbar=True
        )
        return vae.decode(state) if picture else state

    @torch.inference_mode()
    def decode(parts: object, latent: torch.Tensor) -> object:
        return parts[2].decode(latent)

    return Candidate(load, text, sample, decode)


def openvino(dtype: str) -> Candidate:
    """OpenVINO alone: diffusers' UNet and decoder as its `convert_model` makes them, and nothing around them."""
    import openvino as ov
    import torch

    hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": hint}

    def load(path: Path) -> dict:
        return {part: path.with_name(f"{path.stem}-{part}.xml") for part in ("unet", "decoder")}

    def request(files: dict, part: str, shapes: list) -> object:
        if (part, *shapes) not in files:
            model = ov.Core().read_model(files[part])
            model.reshape(dict(enumerate(shapes)))
            files[(part, *shapes)] = ov.Core().compile_model(model, "CPU", options).create_infer_request()
        return files[(part, *shapes)]

    def text(files: dict) -> object:
        return torch.randn(2, 77, 1024 if files["unet"].stem.endswith("2-unet") else 768).numpy()

    def sample(files: dict, text: object, steps: int, side: int, picture: bool) -> object:
        x = torch.randn(2, 4, side // 8, side // 8).numpy()
        inputs = [x, torch.tensor([500, 500]).numpy(), text]
        for _ in range(steps):
            made = request(files, "unet", [tuple(each.shape) for each in inputs]).infer(inputs)
        return made

    def decode(files: dict, latent: torch.Tensor) -> object:
        return request(files, "decoder", [tuple(latent.shape)]).infer([latent.numpy()])

    return Candidate(load, text, sample, decode, whole=False)


def convert_for_openvino(path: Path) -> None:
    """Write diffusers' UNet and decoder of a file as OpenVINO's models, where they aren't there yet."""
    import openvino as ov
    import torch

    files = openvino("float32").load(path)
    if all(file.is_file() for file in files.values()):
        return
    pipeline = diffusers("float32").load(path)
    unet, vae = pipeline.unet.eval(), pipeline.vae.eval()

    class Unet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = unet

        def forward(self, x: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            return self.unet(x, t, text, return_dict=False)[0]

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.vae.decode(z, return_dict=False)[0]

    x, t, text = (
        torch.randn(2, 4, 32, 32),
        torch.tensor([500, 500]),
        torch.randn(2, 77, unet.config.cross_attention_dim),
    )
    with torch.no_grad():
        for part, network, example in (("unet", Unet(), (x, t, text)), ("decoder", Decoder(), (x[:1],))):
            ov.save_model(ov.convert_model(network, example_input=example), files[part])


WORDS = [[49406, 320, 1125, 539, *[49407] * 73], [49406, *[49407] * 76]]
DTYPES = ("bfloat16", "float32")
OURS = {
    "this package": ours,
    "this package, --engine openvino": lambda dtype: ours(dtype, "openvino"),
}
OTHERS = {"diffusers": diffusers, "ComfyUI": comfyui, "OpenVINO": openvino}
CANDIDATES = OURS | OTHERS


def measure(name: str, dtype: str, path: Path, threads: int, quick: bool, busy: bool) -> dict[str, float]:
    """One candidate's figures, in this process."""
    began = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    candidate = CANDIDATES[name](dtype)
    imported = time.perf_counter()
    loaded = candidate.load(path)
    ready = time.perf_counter()
    figures = {}
    if candidate.whole:
        figures = {"start": imported - began, "load": ready - imported}
        if not quick:
            candidate.sample(loaded, candidate.text(loaded), STEPS, 256, True)
            done = time.perf_counter()
            figures |= {"run": done - ready, "all": done - began, "memory_run": peak_memory()}
    text, latent = candidate.text(loaded), torch.randn(1, 4, 64, 64)
    for figure, times_done, code in (
        ("step256", FEW, lambda: candidate.sample(loaded, text, FEW, 256, False)),
        ("step512", 1, lambda: candidate.sample(loaded, text, 1, 512, False)),
        ("decode", 1, lambda: candidate.decode(loaded, latent)),
    ):
        times = []
        for _ in range(3):
            start, worked = time.perf_counter(), time.process_time()
            code()
            took = (time.process_time() - worked) / threads if busy else time.perf_counter() - start
            times.append(took / times_done)
        figures[figure] = min(times[1:])
        figures |= {"first512": times[0]} if figure == "step512" else {}
    return figures | {"memory": peak_memory()}


def peak_memory() -> float:
    """The most memory that this process has had, in GiB, pages of mapped files included."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM")) / 1024**2


def measured(name: str, dtype: str, path: Path, args: argparse.Namespace) -> dict[str, float]:
    """The figures from a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads), HF_HUB_OFFLINE="1")
    if name == "ComfyUI":
        environment["PYTHONPATH"] = os.pathsep.join([str(args.comfyui), environment.get("PYTHONPATH", "")])
    python = args.python if name == "ComfyUI" else sys.executable
    command = [python, __file__, str(path), "--measure", name, dtype, "--threads", str(args.threads)]
    command += ["--quick"] * args.quick + ["--busy"] * args.busy
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} in {dtype} on {path.name}: {done.stderr[-2000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    print(name, dtype, {figure: round(value, 2) for figure, value in figures.items()}, file=sys.stderr)
    return figures


def print_table(layout: str, dtype: str, best: dict[str, dict[str, float]]) -> None:
    """The best figures of a dtype, and this package's best as parts of the others'."""
    print(f"\nStable Diffusion {layout}.x, {dtype}\n\n| | " + " | ".join(best) + " |\n|---|" + "---:|" * len(best))
    for figure, title in TITLES.items():
        if any(figure in figures for figures in best.values()):
            cells = [f"{best[name][figure]:.2f}" if figure in best[name] else "" for name in best]
            print(f"| {title}, {UNIT.get(figure, 's')} | " + " | ".join(cells) + " |")
    others = [name for name in best if name in OTHERS]
    print(
        "\n| this package's best of |" + "".join(f" / {name} |" for name in others) + "\n|---|" + "---:|" * len(others)
    )
    for figure, title in TITLES.items():
        own = [best[name][figure] for name in best if name in OURS and figure in best[name]]
        cells = [f"{min(own) / best[name][figure]:.2f}" if own and figure in best[name] else "" for name in others]
        if any(cells):
            print(f"| {title} | " + " | ".join(cells) + " |")


def main() -> None:
    """Measures and prints a table per layout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the files are, or are written")
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="a checkout of ComfyUI")
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="the Python that ComfyUI runs in")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layouts", nargs="+", choices=("1", "2"), default=["1", "2"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--quick", action="store_true", help="without the run of 20 steps")
    parser.add_argument("--busy", action="store_true", help="processor time for steps and pictures")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure, args.folder, args.threads, args.quick, args.busy)))
        return
    there = {"ComfyUI": args.comfyui is not None}
    there["OpenVINO"] = there["this package, --engine openvino"] = find_spec("openvino") is not None
    names = [name for name in args.candidates if there.get(name, True)]
    for layout, path in write_layouts(args.folder, args.layouts).items():
        if "OpenVINO" in names:
            convert_for_openvino(path)
        for dtype in args.dtypes:
            best: dict[str, dict[str, float]] = {}
            for _ in range(args.repeats):
                for name in names:
                    figures = measured(name, dtype, path, args)
                    best[name] = {key: min(value, best.get(name, figures)[key]) for key, value in figures.items()}
            print_table(layout, dtype, best)


if __name__ == "__main__":
    main()
