"""`examples`: the workflows that ship, listed and copied; `example:NAME` is one of them wherever a FILE is."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

from ..atomic import write_whole
from ..executor.errors import WorkflowError
from .options import new_parser
from .stopping import gently

PREFIX = "example:"
FOLDER = Path(__file__).parents[1] / "workflows"
EXAMPLES = {
    "text_to_image": "minimal text-to-image",
    "image_to_image": "an image changed by a prompt; denoise sets how much",
    "inpaint": "mask and x0: one half inpainted, the other kept exactly",
    "inpaint_repaint": "the same with RePaint",
    "guidance_schedule": "guidance in the first half of the run only: a quarter fewer model calls",
    "guidance_curves": "four guidance curves on one seed",
    "eta_sweep": "one seed from DDIM (eta 0) to DDPM (eta 1)",
    "variations": "four images of one prompt",
    "interpolation": "seven images interpolated between two seeds",
    "inversion_edit": "an image inverted to its noise, and sampled from there with another prompt",
    "film_strip": "a run step by step",
    "grid": "a labelled grid of three noises and three etas",
    "controlnet": "a line drawing sets the layout, the prompt the colours",
    "threshold_and_rescale": "high guidance as it is, rescaled, and with dynamic thresholding",
    "cfg_plus_plus": "the x0 predictions of plain guidance and of CFG++, step by step",
    "score_corrector": "predicted noise divided by four numbers (epsilon scaling)",
    "x_T_from_file": "three prompts from the noise of one file, and from seeds",
    "sampler_in_parts": "SamplerCustomAdvanced beside the whole sampler, and with other noise",
    "schedule_plot": "alpha-bar, noise, guidance and eta of a run, drawn before it runs",
}
"""What each shows, by name."""


def example_path(name: str) -> Path:
    """The file of an example; raises WorkflowError if there is none of this name."""
    if name not in EXAMPLES:
        near = difflib.get_close_matches(name, EXAMPLES, 1)
        hint = f"did you mean {near[0]}?" if near else "comfyui-ddim examples lists them"
        raise WorkflowError(f"no example {name!r}; {hint}")
    return FOLDER / f"{name}.json"


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "examples",
        command,
        "List the bundled workflows, or copy them",
        [
            ("comfyui-ddim examples", "list them"),
            ("comfyui-ddim examples text_to_image inpaint", "copy these two here"),
            ("comfyui-ddim examples --all --to workflows", "copy all into a folder"),
            ("comfyui-ddim run example:text_to_image", "run one as it is"),
        ],
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="the examples to copy")
    parser.add_argument("--all", action="store_true", help="copy all of them")
    parser.add_argument("--to", metavar="DIR", type=Path, help="the folder to copy to (default: .)")


def command(arguments: argparse.Namespace) -> int:
    """Print the list, or copy and print the paths; what is there already is never replaced."""
    names = list(EXAMPLES) if arguments.all else arguments.names
    if not names:
        if arguments.to is not None:
            raise WorkflowError(f"--to {arguments.to}: expected the names of examples too, or --all")
        width = max(map(len, EXAMPLES))
        for name, shows in EXAMPLES.items():
            arguments.out.line(f"{name.ljust(width)}  {shows}")
        return 0
    folder = arguments.to or Path()
    paths = [example_path(name.removeprefix(PREFIX)) for name in dict.fromkeys(names)]
    copies = {folder / path.name: path for path in paths}
    for target in copies:
        if target.exists():
            raise WorkflowError(f"{target}: exists already and is not overwritten; --to DIR copies elsewhere")
    with gently(lambda: None):
        folder.mkdir(parents=True, exist_ok=True)
        for target, path in copies.items():
            write_whole(target, path.read_bytes())
            arguments.out.line(target)
    return 0
