"""Renews the pictures of the editor: web/docs/pictures, one for each node, and docs/editor.jpg.

    python benchmarks/editor_pictures.py URL [NODE ...]

URL is that of a ComfyUI with this pack in it. Needs what the tests in tests/browser need (CONTRIBUTING.md).
"""

import sys
import tempfile
from pathlib import Path

from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from editor import browser_at, read  # noqa: E402

SHOWN = "schedule_plot"
"""The workflow in docs/editor.jpg."""
WIDEST = 1240


def renew(url: str, names: list[str]) -> None:
    """Take the pictures of the named nodes, or of all and of the workflow."""
    with browser_at(url) as page, tempfile.TemporaryDirectory() as folder:
        for name in names or NODE_CLASS_MAPPINGS:
            file = ROOT / "web" / "docs" / "pictures" / f"{name}.png"
            page("portrait", {"type": name, "path": str(file)})
            print(file)
        if names:
            return
        page("open", {"workflow": read(SHOWN)})
        page("run")
        page("until", {"kind": "execution_success"})
        taken = Path(folder) / "editor.png"
        page("shot", str(taken))
        with Image.open(taken) as image:
            size = (WIDEST, round(image.height * WIDEST / image.width))
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(ROOT / "docs" / "editor.jpg", quality=88)


if __name__ == "__main__":
    renew(sys.argv[1], sys.argv[2:])
