"""The one place that knows where the nodes run: inside ComfyUI, or in this package's own runner.

`host` answers to `checkpoints`, `load_checkpoint`, `sample`, `invert`, `schedule`, `input_dir`, `output_dir` and
`temp_dir` in both; see `light.LightHost` for what each gives.
"""

import sys

__all__ = ["host"]

if "comfy.samplers" in sys.modules:
    from .comfyui.host import ComfyHost

    host = ComfyHost()
else:
    from .standalone.host import LightHost

    host = LightHost()
