"""Heavy parts: loaders that give the shipped model, and outputs recorded on one machine and played back on another."""

import json

import pytest
from comfyui_ddim.testing.replacements import content_key

pytest_plugins = ["pytester"]

HEAVY = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "large_v9.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red cube", "clip": ["1", 1]}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "4": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["2", 0],
            "latent_image": ["3", 0],
            "seed": 1,
            "steps": 2,
            "cfg": 2.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        },
    },
    "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
}
FAKE = '[fake]\nCheckpointLoaderSimple = "shipped"\n'
CASE = '[[case]]\nname = "a"\nreference = false\n'


@pytest.fixture
def project(pytester):
    (pytester.path / "w.json").write_text(json.dumps(HEAVY))

    def write(toml, prompt=None):
        (pytester.path / "w.test.toml").write_text(toml)
        if prompt is not None:
            (pytester.path / "w.json").write_text(json.dumps(prompt))
        return pytester.path

    return write


def test_a_faked_loader_gives_the_shipped_model(project, run_pytest):
    project(CASE)
    assert "large_v9.safetensors" in run_pytest("w.json").failures["a"]
    project(FAKE + CASE + 'ran = ["CheckpointLoaderSimple"]\nexpect.VAEDecode = { size = [64, 64] }\n')
    run = run_pytest("w.json")
    assert run.failures == {} and "comfy: 1 case with fakes (CheckpointLoaderSimple)" in run.text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("KSampler", "[fake] KSampler: gives LATENT; only MODEL, CLIP, VAE, CONTROL_NET can be faked"),
        ("UNETLoader", "[fake] UNETLoader: no node of this class in the workflow"),
    ],
)
def test_what_cannot_be_faked_is_said(project, run_pytest, kind, words):
    project(f'[fake]\n{kind} = "shipped"\n{CASE}')
    assert words in run_pytest("w.json").failures["a"]


RECORD = FAKE + CASE + 'record = ["KSampler", "CLIPTextEncode"]\n'


def test_recorded_outputs_are_played_back(project, run_pytest):
    folder = project(RECORD)
    assert "KSampler: no recording of it with these inputs" in run_pytest("w.json").failures["a"]
    assert run_pytest("w.json", "--comfy-update").failures == {}
    recorded = sorted((folder / "w.references" / "recorded").iterdir())
    assert len(recorded) == 2
    # The model is needed for decoding only: what recorded nodes need doesn't run.
    project(RECORD + 'expect.SaveImage = { size = [64, 64] }\n[[case]]\nname = "b"\nset = { "4.seed" = 2 }\n')
    run = run_pytest("w.json", "-k", "a")
    assert run.failures == {} and "1 case played back (CLIPTextEncode, KSampler)" in run.text
    before = [path.stat().st_mtime_ns for path in recorded]
    assert run_pytest("w.json", "-k", "a", "--comfy-update").failures == {}
    assert [path.stat().st_mtime_ns for path in recorded] == before


def test_a_change_before_a_recorded_node_is_seen(project, run_pytest):
    project(RECORD)
    assert run_pytest("w.json", "--comfy-update").failures == {}
    changed = json.loads(json.dumps(HEAVY))
    changed["3"]["inputs"]["width"] = 72
    project(RECORD, changed)
    assert "KSampler: no recording of it with these inputs" in run_pytest("w.json").failures["a"]


def test_models_cannot_be_recorded(project, run_pytest):
    project(FAKE + CASE + 'record = ["CheckpointLoaderSimple"]\n')
    words = run_pytest("w.json", "--comfy-update").failures["a"]
    assert words.endswith("gives a Model, which can't be recorded")


def test_a_key_tells_all_that_a_result_depends_on_and_nothing_else():
    key = content_key(HEAVY, "4")
    renumbered = json.loads(json.dumps(HEAVY).replace('"3"', '"30"').replace('["1", 0]', '["1", 0 ]'))
    assert content_key(renumbered, "4") == key
    titled = {**HEAVY, "2": {**HEAVY["2"], "_meta": {"title": "x"}}}
    assert content_key(titled, "4") == key
    for node, name, value in (("1", "ckpt_name", "y"), ("2", "text", "y"), ("4", "seed", 2), ("3", "width", 72)):
        changed = json.loads(json.dumps(HEAVY))
        changed[node]["inputs"][name] = value
        assert content_key(changed, "4") != key
    other_output = json.loads(json.dumps(HEAVY))
    other_output["4"]["inputs"]["positive"] = ["1", 1]
    assert content_key(other_output, "4") != key
