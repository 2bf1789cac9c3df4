"""Sweeps: one workflow over many values, in this process or on a Ray cluster, and on from where it was.

    for cell in sweep(Path("workflow.json"), {"KSampler.seed": range(8)}, Path("seeds")):
        print(cell.values, cell.state, cell.files)
"""

from .pool import Options
from .sweep import Cell, Sweep, sweep
from .worker import NodeSet

__all__ = ["Cell", "NodeSet", "Options", "Sweep", "sweep"]
