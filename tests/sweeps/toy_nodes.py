"""A node pack of small nodes for sweeps, and workflows made of them. What ran is told in the file TOY_LOG names."""

import os
import time
from pathlib import Path

import numpy as np
from comfyui_ddim.executor import context
from PIL import Image

PATH = Path(__file__)


def log(*words):
    if "TOY_LOG" in os.environ:
        with Path(os.environ["TOY_LOG"]).open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")


class ToyNumber:
    """The beginning that cells share."""

    RETURN_TYPES, FUNCTION = ("INT",), "work"
    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"value": ("INT", {"min": 0, "max": 1000}), "sign": (["plus", "minus"],)}}
    )

    def work(self, value, sign):
        log("number", value, sign)
        return (value if sign == "plus" else -value,)


class ToyAdd:
    """Adds; in steps that take a while, and not at all when the seed is in `broken`."""

    RETURN_TYPES, FUNCTION = ("INT",), "work"

    @classmethod
    def INPUT_TYPES(cls):
        options = {"min": 0, "max": 2**32}
        return {
            "required": {
                "number": ("INT", {"forceInput": True}),
                "seed": ("INT", options),
                "factor": ("FLOAT", {"min": 0.0, "max": 10.0}),
                "milliseconds": ("INT", {"min": 0}),
                "broken": ("STRING", {}),
            }
        }

    def work(self, number, seed, factor, milliseconds, broken):
        log("add", seed, factor)
        for step in range(5):
            time.sleep(milliseconds / 5000)
            context.progress(step + 1, 5)
        if str(seed) in broken.split():
            raise RuntimeError(f"{seed} is broken")
        if f"kill{seed}" in broken.split():
            os.kill(os.getpid(), 9)
        return (round(number + seed * factor),)


class ToyJudge:
    """Refuses what its class says of two inputs together."""

    RETURN_TYPES, FUNCTION = ("INT",), "work"
    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"number": ("INT", {"forceInput": True}), "a": ("INT", {}), "b": ("INT", {})}}
    )

    @classmethod
    def VALIDATE_INPUTS(cls, a, b):
        return True if a * b != 6 else f"{a} times {b} is six"

    def work(self, number, a, b):
        return (number + a + b,)


class ToyWrite:
    """Writes a text and a picture of one colour."""

    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True
    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"number": ("INT", {"forceInput": True}), "kind": (["text", "picture", "none"],)}}
    )

    def work(self, number, kind):
        log("write", number)
        folder = context.current().output_dir
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "text":
            (folder / "number.txt").write_text(f"{number}")
        elif kind == "picture":
            pixels = np.full((48, 64, 3), (number * 37 % 256, number * 11 % 256, 120), np.uint8)
            Image.fromarray(pixels).save(folder / "number.png")
        return {"ui": {"number": [number]}}


class ToyThreads(ToyWrite):
    """Writes how many threads torch has."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"seed": ("INT", {})}})

    def work(self, seed):
        import torch

        context.current().output_dir.mkdir(parents=True, exist_ok=True)
        (context.current().output_dir / "threads.txt").write_text(f"{torch.get_num_threads()}")
        return {"ui": {}}


class ToyText(ToyWrite):
    """Writes what it is given."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"text": ("STRING", {}), "flag": ("BOOLEAN", {})}})

    def work(self, text, flag):
        folder = context.current().output_dir
        (folder / "text.txt").write_text(f"{text}|{flag}")
        return {"ui": {}}


NODE_CLASS_MAPPINGS = {each.__name__: each for each in (ToyNumber, ToyAdd, ToyJudge, ToyWrite, ToyThreads, ToyText)}
NODE_DISPLAY_NAME_MAPPINGS = {"ToyAdd": "Add"}


def adding(milliseconds=0, kind="text", broken=""):
    """number -> add -> write."""
    add = {"number": ["1", 0], "seed": 1, "factor": 1.0, "milliseconds": milliseconds, "broken": broken}
    number = {"value": 3, "sign": "plus"}
    return {
        "1": {"class_type": "ToyNumber", "inputs": number, "_meta": {"title": "Number, the first"}},
        "2": {"class_type": "ToyAdd", "inputs": add, "_meta": {"title": "Add"}},
        "3": {"class_type": "ToyWrite", "inputs": {"number": ["2", 0], "kind": kind}},
    }


def load():
    """The node set, for `sweep(nodes=load)`."""
    from comfyui_ddim.sweeps import NodeSet

    return NodeSet(NODE_CLASS_MAPPINGS)
