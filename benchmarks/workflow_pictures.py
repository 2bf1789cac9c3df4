"""Renews what the bundled model draws: the references of the shipped workflows, and the image beside each.

After new weights: `python benchmarks/workflow_pictures.py [NAME ...]`, then look at what `git diff` shows.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parents[1] / "workflows"
SMALL = 260
"""Images up to this wide are shown at twice their size."""


def renew(names: list[str]) -> None:
    """Run the named workflows, or all, and write what differs."""
    files = [FOLDER / f"{name}.json" for name in names] or sorted(FOLDER.glob("*.json"))
    command = [sys.executable, "-m", "pytest", "-q", *map(str, files), "--comfy-update"]
    subprocess.run(command, cwd=FOLDER.parent, check=True)
    for file in files:
        (drawn,) = (FOLDER / f"{file.stem}.references").glob("as it ships.SaveImage.png")
        with Image.open(drawn) as image:
            shown = image.convert("RGB")
        if shown.width <= SMALL:
            shown = shown.resize((2 * shown.width, 2 * shown.height), Image.Resampling.LANCZOS)
        shown.save(file.with_suffix(".jpg"), quality=90)
        print(file.with_suffix(".jpg"))


if __name__ == "__main__":
    renew(sys.argv[1:])
