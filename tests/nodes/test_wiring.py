"""The sampler's arguments over wires: graphs of the real nodes on the model that ships, run by the executor."""

import pytest
import torch
from comfyui_ddim.executor import Executor
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from comfyui_ddim.nodes.options import parse_seeds
from comfyui_ddim.nodes.schedules import gather

STEPS = 3
ETAS = [0.9, 0.0, 0.5]


class Anything(str):
    """A type that fits every other, as packs write it."""

    def __ne__(self, other):
        return False


class Keep:
    """Keeps what comes in, for the test to see."""

    seen: list

    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "keep", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (Anything("*"),)}}

    def keep(self, value):
        self.seen.append(value)
        return {"ui": {}}


class FloatsInOne:
    """As KJNodes' and many others': a FLOAT that is a list."""

    RETURN_TYPES, FUNCTION = ("FLOAT",), "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (list(ETAS),)


class FloatsInTurn(FloatsInOne):
    """ComfyUI's own kind of list: what follows runs once for each."""

    OUTPUT_IS_LIST = (True,)


def run(others=None, **nodes):
    """What the `Keep` nodes got, in order; each node is (class, inputs)."""
    seen = []
    classes = {"Keep": type("Keep", (Keep,), {"seen": seen}), "InOne": FloatsInOne, "InTurn": FloatsInTurn}
    classes |= others or {}
    result = Executor({**NODE_CLASS_MAPPINGS, **STAND_IN_CLASS_MAPPINGS, **classes}).run(
        {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    )
    assert result.error is None and result.failure is None, (result.error, result.node_errors, result.failure)
    return seen


LOADED = {
    "load": ("DDIMLoadModel", {"ckpt_name": "ddim-scenes.safetensors"}),
    "text": ("DDIMConditioning", {"clip": ["load", 1], "positive": "a red sphere", "negative": ""}),
}
MODEL = {"model": ["load", 0], "positive": ["text", 0], "negative": ["text", 1]}


def sampler(size=1, **inputs):
    """The nodes of a run over a batch of latents of 64 x 64 pixels."""
    latent = ("DDIMEmptyLatent", {"width": 64, "height": 64, "batch_size": size})
    given = {"latent": ["latent", 0], "seed": 5, "steps": STEPS, "cfg": 1.0, "eta": 0.0, "denoise": 1.0}
    return {
        **LOADED,
        "latent": latent,
        "sample": ("DDIMSampler", {**MODEL, **given, **inputs}),
        "keep": ("Keep", {"value": ["sample", 0]}),
    }


OPTIONS = {
    "temperature": 1.0,
    "noise_dropout": 0.0,
    "quantize_x0": False,
    "log_every_t": 1,
    "repaint_jump_length": 10,
    "repaint_repeats": 1,
    "noise": "per sample",
}


def samples(nodes):
    (latent,) = run(**nodes)
    return latent["samples"]


def test_a_list_of_floats_is_a_schedule_whichever_way_it_comes():
    in_one = samples({**sampler(eta_schedule=["values", 0]), "values": ("InOne", {})})
    for kind in ("InOne", "InTurn"):
        curve = {"values": (kind, {}), "curve": ("DDIMCurve", {"curve": "0", "values": ["values", 0]})}
        assert torch.equal(samples({**sampler(eta_schedule=["curve", 0]), **curve}), in_one)
    in_turn = run(**sampler(eta_schedule=["values", 0]), values=("InTurn", {}))
    assert len(in_turn) == len(ETAS)  # straight into the sampler ComfyUI's kind of list is a sweep
    assert torch.equal(in_turn[1]["samples"], samples(sampler(eta=ETAS[1])))
    assert not torch.equal(in_one, in_turn[0]["samples"]) and not torch.equal(in_one, in_turn[1]["samples"])


def test_values_are_gathered():
    numbers, series = [1.0, 2.0], torch.tensor([3.0, 4.0])
    assert gather(numbers) == [numbers]
    assert gather([numbers]) == [numbers]
    assert gather([7.0]) == [7.0]
    assert gather([series, numbers])[0] is series and len(gather([series, numbers])) == 2


def test_a_seed_for_each_picture_gives_the_pictures_they_give_alone():
    def batch(seeds, size):
        options = {"options": ("DDIMOptions", {**OPTIONS, "seeds": seeds})}
        return samples({**sampler(size, eta=0.8, options=["options", 0]), **options})

    together = batch("3, 1 4,1", 4)
    alone = torch.cat([samples(sampler(seed=seed, eta=0.8)) for seed in (3, 1, 4, 1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together, torch.cat([batch("3, 1", 2), batch("4, 1", 2)]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together, batch("3, 1, 4, 1", 1), rtol=0, atol=1e-5)  # the seeds make the batch


def test_one_seed_gives_a_batch_what_its_parts_give():
    """A part of a batch is what ComfyUI's LatentFromBatch leaves: latents and their places."""
    node, host = NODE_CLASS_MAPPINGS["DDIMSampler"](), NODE_CLASS_MAPPINGS["DDIMLoadModel"]()
    model, clip, _ = host.load("ddim-scenes.safetensors")
    positive, negative = NODE_CLASS_MAPPINGS["DDIMConditioning"]().encode(clip, "a red sphere", "")[:2]

    def sample(latent):
        return node.sample(model, positive, negative, latent, 5, STEPS, 1.0, 0.8, 1.0)[0]["samples"]

    whole = sample({"samples": torch.zeros(4, 4, 8, 8)})
    for places in ([3], [1, 2]):
        part = sample({"samples": torch.zeros(len(places), 4, 8, 8), "batch_index": places})
        torch.testing.assert_close(part, whole[places], rtol=0, atol=1e-5)


@pytest.mark.parametrize("written", ["3, x", "-1", "1.5", str(2**64)])
def test_what_are_no_seeds_is_said_before_anything_runs(written):
    assert "expected whole numbers" in NODE_CLASS_MAPPINGS["DDIMOptions"].VALIDATE_INPUTS(written)
    with pytest.raises(ValueError, match="expected whole numbers"):
        parse_seeds(written)
    assert parse_seeds(" 3,1  4 ") == (3, 1, 4) and parse_seeds("") == ()


RUN = {"steps": 6, "cfg": 1.0}


@pytest.fixture(scope="module")
def picture():
    """A picture's latent, 8 x 8 of it."""
    encode = {"pixels": ["picture", 0], "vae": ["load", 2]}
    nodes = {"picture": ("DDIMExampleImage", {"image": "red-sphere"}), "latent": ("DDIMEncode", encode)}
    whole = samples({**LOADED, **nodes, "keep": ("Keep", {"value": ["latent", 0]})})
    return {"samples": whole[..., 4:12, 4:12].clone()}


@pytest.mark.parametrize(
    ("mode", "denoise", "off", "calls"),
    [("plain", 1.0, 0.5, 6), ("exact", 1.0, 1e-5, 24), ("exact", 0.5, 1e-5, 24), ("fixed point", 0.5, 0.05, None)],
)
def test_inversion_leads_back_to_the_picture(picture, mode, denoise, off, calls):
    """All the way, or half: then the sampler starts from the same latent with the noise that was found."""

    class Picture(FloatsInOne):
        RETURN_TYPES = ("LATENT",)

        def make(self):
            return (picture,)

    solve = {"mode": mode, "iterations": 3, "tolerance": 1e-6, "damping": 1.0}
    back = {"seed": 0, "eta": 0.0, "x_T": ["invert", 0], "options": ["invert", 1]}
    latent = {"latent": ["picture", 0], "denoise": denoise}
    kept = [["sample", 0], ["invert", 2], ["invert", 3], ["invert", 4]]
    got = run(
        {"Picture": Picture},
        **LOADED,
        picture=("Picture", {}),
        invert=("DDIMInvert", {**MODEL, **RUN, **latent, **solve}),
        sample=("DDIMSampler", {**MODEL, **RUN, **latent, **back}),
        **{f"keep{i}": ("Keep", {"value": wire}) for i, wire in enumerate(kept)},
    )
    by_kind = {type(value): value for value in got}
    assert (by_kind[dict]["samples"] - picture["samples"]).pow(2).mean().sqrt() < off * picture["samples"].std()
    assert by_kind[float] == max(by_kind[list]) and len(by_kind[list]) == 6
    assert by_kind[int] == calls or (calls is None and 6 < by_kind[int] <= 18)
