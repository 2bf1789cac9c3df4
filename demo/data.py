"""The training set: rendered scenes, made once by several processes and kept on disk."""

import logging
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ..atomic import write_whole
from .scenes import Scene, random_scene, render

__all__ = ["scene_of", "training_set"]

log = logging.getLogger(__name__)

SIZE = 128


def scene_of(seed: int, index: int) -> Scene:
    """The `index`-th random scene of a seed; no two (seed, index) share random numbers."""
    return random_scene(np.random.default_rng((seed, index)))


def _render(job: tuple[int, int]) -> np.ndarray:
    return render(scene_of(*job), SIZE)


def training_set(folder: Path, count: int, seed: int, workers: int = 2) -> tuple[np.ndarray, list[Scene]]:
    """Pictures (count, 128, 128, 3) uint8, memory-mapped, and their scenes.

    What `folder` holds already is kept, so an interrupted run goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, done_path = folder / f"pictures-{seed}-{count}.npy", folder / f"pictures-{seed}-{count}.done"
    shape = (count, SIZE, SIZE, 3)
    done = int(done_path.read_text()) if done_path.exists() else 0
    pictures = np.lib.format.open_memmap(path, "r+" if done else "w+", np.uint8, shape)
    if done < count:
        log.info("rendering scenes %d to %d", done, count)
        with get_context("spawn").Pool(workers) as pool:
            jobs = ((seed, i) for i in range(done, count))
            for i, picture in enumerate(pool.imap(_render, jobs, chunksize=32), start=done):
                pictures[i] = picture
                if i % 256 == 255 or i == count - 1:
                    pictures.flush()
                    write_whole(done_path, str(i + 1).encode())
    return np.load(path, mmap_mode="r"), [scene_of(seed, i) for i in range(count)]
