"""How time and memory grow with the batch, the side of the image and the steps, in numbers and a plot.

    python benchmarks/scaling.py [--plot FILE] [--most 16 1024 100]

The model that ships, guided, float32, one thread; each row is its own process, forked after the model is loaded, and
its memory is the most it held beyond that. Times are processor time. Linux alone.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.networks import DiffusionRun, LatentDiffusion, load_checkpoint
from comfyui_ddim.nodes.chart import Line, Panel, draw_panels, spread
from comfyui_ddim.sampler import Guidance, ddim_steps, make_predictor, make_schedule

SIDE, STEPS = 256, 2
BATCHES, SIDES, COUNTS = (1, 2, 4, 8, 16), (256, 384, 512, 768, 1024), (1, 5, 20, 50, 100)
COLOURS = {"batch": (37, 99, 235), "side": (217, 119, 6), "steps": (5, 150, 105)}


@dataclass(frozen=True)
class Row:
    """What a run took: seconds of its steps and of decoding, and MiB at most."""

    steps: float
    picture: float
    memory: float


def run(model: LatentDiffusion, batch: int, side: int, steps: int) -> tuple[float, float]:
    """Seconds of the steps and of the image, of processor time."""
    text = model.encode_text(["a large red sphere", ""])
    schedule = make_schedule(model.alphas_cumprod, steps)
    x = torch.randn(batch, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    diffusion = DiffusionRun(model, schedule.timesteps)
    predict = make_predictor(diffusion, schedule, batch, text[:1], text[1:], Guidance(3.0))
    start = time.process_time()
    for step in ddim_steps(predict, x, schedule):
        x = step.x
    between = time.process_time()
    model.decode_latent(x / model.scale_factor)
    return between - start, time.process_time() - between


def status(name: str) -> float:
    """MiB of this process: VmRSS, what it holds, or VmHWM, the most it held."""
    row = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(row.split()[1]) / 1024


def in_a_process(work: Callable[[], tuple[float, float]]) -> Row:
    """What `work` takes, in a process of its own."""
    end, begin = os.pipe()
    child = os.fork()
    if not child:
        Path("/proc/self/clear_refs").write_text("5")  # the most it held counts from here
        before = status("VmRSS")
        steps, picture = work()
        os.write(begin, f"{steps} {picture} {status('VmHWM') - before}".encode())
        os._exit(0)
    os.close(begin)
    with os.fdopen(end) as told:
        found = told.read()
    if os.waitpid(child, 0)[1] or not found:
        raise SystemExit("a row's process ended early: is there enough memory?")
    return Row(*map(float, found.split()))


def growth(rows: dict[int, Row], value: Callable[[Row], float], first: int, last: int) -> float:
    """The exponent with which a value grows from one size to another; 1 is linear."""
    return float(torch.tensor(value(rows[last]) / value(rows[first])).log() / torch.tensor(last / first).log())


def panels(name: str, rows: dict[int, Row]) -> list[Panel]:
    """Time and memory over one of the three sizes; dashed is what linear growth (of pixels) from the first would be."""
    sizes, power = list(rows), 2 if name == "side" else 1
    made = []
    for title, unit, value in (
        ("time", "s", lambda row: row.steps + row.picture),
        ("peak memory", "MiB", lambda row: row.memory),
    ):
        corners = tuple((size, value(row)) for size, row in rows.items())
        linear = tuple((size, corners[0][1] * (size / sizes[0]) ** power) for size in sizes)
        low, high = spread([y for _, y in corners])
        inside = tuple((x, y) for x, y in linear if y <= high)
        lines = (
            (Line(corners, dots=True), Line(inside, dashed=True)) if len(inside) > 1 else (Line(corners, dots=True),)
        )
        title = f"{title} over {name}, {unit}"
        readout = f"{corners[0][1]:.3g} to {corners[-1][1]:.4g}"
        made.append(Panel(title, readout, COLOURS[name], lines, (sizes[0], sizes[-1]), (low, high)))
    return made


def main() -> None:
    """Measure, print a table for each size, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", type=Path, help="where to draw all of it")
    most = ("BATCH", "SIDE", "STEPS")
    parser.add_argument("--most", type=int, nargs=3, default=(16, 1024, 100), metavar=most, help="the largest of each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_checkpoint(SHIPPED, "cpu", torch.float32)
    ways = {
        "batch": (BATCHES, lambda size: run(model, size, SIDE, STEPS)),
        "side": (SIDES, lambda size: run(model, 1, size, STEPS)),
        "steps": (COUNTS, lambda size: run(model, 1, SIDE, size)),
    }
    drawn: list[Panel] = []
    for (name, (sizes, work)), largest in zip(ways.items(), args.most, strict=True):
        rows = {}
        for size in (size for size in sizes if size <= largest):
            rows[size] = row = in_a_process(lambda work=work, size=size: work(size))
            print(
                f"{name} {size}: steps {row.steps:.2f} s, image {row.picture:.2f} s, {row.memory:.0f} MiB", flush=True
            )
        first, last = list(rows)[-2], list(rows)[-1]
        values = {"steps": lambda r: r.steps, "image": lambda r: r.picture, "memory": lambda r: r.memory}
        said = ", ".join(f"{what} {growth(rows, value, first, last):.2f}" for what, value in values.items())
        print(f"    from {first} to {last} grows with the power: {said}", flush=True)
        drawn += panels(name, rows)
    if args.plot:
        title = (
            f"{SHIPPED.stem}, guided, one thread; {SIDE} x {SIDE} and {STEPS} steps unless on the axis; dashed: linear"
        )
        draw_panels(drawn, title, "", 1024, 1024).save(args.plot)


if __name__ == "__main__":
    main()
