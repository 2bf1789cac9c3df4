"""The training set: rendered scenes, made once by several processes and kept on disk."""

import logging
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ..atomic import write_whole
from .scenes import Scene, hard_scene, random_scene, render

__all__ = ["scene_of", "training_set"]

log = logging.getLogger(__name__)

SIZE = 128


def scene_of(seed: int, index: int, hard: bool = False) -> Scene:
    """The `index`-th random scene of a seed, or the `index`-th hard one; no two share random numbers."""
    if hard:
        return hard_scene(np.random.default_rng((seed, index, 1)))
    return random_scene(np.random.default_rng((seed, index)))


def _render(job: tuple[int, int, bool]) -> np.ndarray:
    return render(scene_of(*job), SIZE)


def training_set(
    folder: Path, count: int, seed: int, workers: int = 2, hard: bool = False
) -> tuple[np.ndarray, list[Scene]]:
    """Pictures (count, 128, 128, 3) uint8, memory-mapped, and their scenes, drawn by `scene_of`.

    What `folder` holds already is kept, so an interrupted run goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{'hard' if hard else 'pictures'}-{seed}-{count}"
    path, done_path = folder / f"{name}.npy", folder / f"{name}.done"
    shape = (count, SIZE, SIZE, 3)
    done = int(done_path.read_text()) if done_path.exists() else 0
    pictures = np.lib.format.open_memmap(path, "r+" if done else "w+", np.uint8, shape)
    if done < count:
        log.info("rendering scenes %d to %d", done, count)
        with get_context("spawn").Pool(workers) as pool:
            jobs = ((seed, i, hard) for i in range(done, count))
            for i, picture in enumerate(pool.imap(_render, jobs, chunksize=32), start=done):
                pictures[i] = picture
                if i % 256 == 255 or i == count - 1:
                    pictures.flush()
                    write_whole(done_path, str(i + 1).encode())
    return np.load(path, mmap_mode="r"), [scene_of(seed, i, hard) for i in range(count)]
