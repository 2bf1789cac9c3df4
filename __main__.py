"""`python -m comfyui_ddim`: the command line."""

import sys

from .cli import main, run_process

__all__ = ["main", "run_process"]

if __name__ == "__main__":
    sys.exit(run_process())
