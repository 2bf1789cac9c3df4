"""What a start does to the process that it happens in."""

import subprocess
import sys

from comfyui_ddim.demo import SHIPPED

TWO_STARTS = """
import gc, sys
from comfyui_ddim.cli import main

for _ in range(2):
    assert main(["check", sys.argv[1]]) == 0
    print(gc.isenabled(), gc.get_freeze_count())
"""


def test_after_the_imports_garbage_is_collected_again():
    """What they leave isn't looked at any more; what a later start finds in the process is."""
    workflow = SHIPPED.parents[1] / "workflows" / "text_to_image.json"
    ran = subprocess.run([sys.executable, "-c", TWO_STARTS, workflow], check=True, capture_output=True, text=True)
    (enabled, kept), again = (line.split() for line in ran.stdout.splitlines() if line.startswith(("True", "False")))
    assert enabled == "True" and int(kept) > 100_000
    assert again == [enabled, kept]
