"""The models folder: what lies in it, what an extra_model_paths.yaml adds, and names as workflows write them."""

from pathlib import Path

import pytest
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.hosts import host
from comfyui_ddim.hosts.standalone.model_folders import EXTRA, ModelFolders
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS


def file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(file(tmp_path / "elsewhere" / "nothing").parent)
    return tmp_path / "models"


def test_every_kind_of_file_is_listed_and_nothing_else(models):
    for name in ("b.safetensors", "a.ckpt", "deep/er/c.pt", "d.pth", "e.bin", "F.SafeTensors", "no.txt", "no.yaml"):
        file(models / "checkpoints" / name)
    file(models / "checkpoints" / ".git" / "hidden.ckpt")
    folder = file(models / "checkpoints" / "sd" / "turned" / "model_index.json").parent
    file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    other = file(models / "diffusers" / "more" / "model_index.json").parent
    folders = ModelFolders.of(models)
    assert folders.names("checkpoints") == sorted(
        ["F.SafeTensors", "a.ckpt", "b.safetensors", "d.pth", "deep/er/c.pt", "e.bin", "more", "sd/turned"]
    )
    assert folders.find("checkpoints", "more") == other and folders.find("checkpoints", "sd/turned") == folder
    assert folders.names("diffusers") == ["more"]
    assert folders.names("vae") == []


def test_links_are_followed_but_not_in_circles(models, tmp_path):
    file(tmp_path / "disk" / "sub" / "x.ckpt")
    (models / "checkpoints").mkdir(parents=True)
    (models / "checkpoints" / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "disk")
    assert ModelFolders.of(models).names("checkpoints") == ["linked/sub/x.ckpt"]


def test_names_as_windows_writes_them(models):
    path = file(models / "controlnet" / "SD15" / "Canny_v11.pth")
    folders = ModelFolders.of(models)
    for name in ("SD15/Canny_v11.pth", "SD15\\Canny_v11.pth", "sd15\\canny_V11.pth"):
        assert folders.find("controlnet", name) == path
    with pytest.raises(ValueError, match=r"no ControlNet '\.\./controlnet/SD15/Canny_v11\.pth' in "):
        folders.find("controlnet", "../controlnet/SD15/Canny_v11.pth")


def test_a_missing_name_says_where_and_what_is_near(models):
    file(models / "checkpoints" / "sd" / "v1-5-pruned-emaonly.safetensors")
    folders = ModelFolders.of(models)
    with pytest.raises(ValueError) as error:
        folders.find("checkpoints", "v1-5-pruned-emaonly.ckpt")
    where = models / "checkpoints"
    assert str(error.value) == (
        f"no checkpoint 'v1-5-pruned-emaonly.ckpt' in {where}; did you mean 'sd/v1-5-pruned-emaonly.safetensors'?"
    )
    with pytest.raises(ValueError, match="there are none"):
        folders.find("vae", "some.pt")
    assert "did you mean" not in folders._missing("checkpoints", "qqq", folders.names("checkpoints"))


FULL = """
# two places
a111:
    base_path: {base}
    checkpoints: models/Stable-diffusion
    vae: models/VAE
    loras: |
         models/Lora
         models/LyCORIS
    clip: models/clip
comfyui:
    is_default: true
    base_path: $MODELS_FOR_TEST/comfy
    checkpoints: |
        models/checkpoints/
        {base}/absolute
    controlnet: [models/controlnet, "models/more"]
empty:
loose:
    embeddings: beside_the_file
"""


@pytest.mark.parametrize("beside", [True, False], ids=["beside the models", "in the current folder"])
def test_extra_model_paths(models, tmp_path, monkeypatch, beside):
    pytest.importorskip("yaml")
    monkeypatch.setenv("MODELS_FOR_TEST", str(tmp_path))
    here = models.parent if beside else Path.cwd()
    (here / EXTRA).write_text(FULL.format(base=tmp_path / "webui"))
    folders, webui, comfy = ModelFolders.of(models), tmp_path / "webui", tmp_path / "comfy"
    assert folders.folders("checkpoints") == [
        webui / "absolute",
        comfy / "models" / "checkpoints",
        models / "checkpoints",
        webui / "models" / "Stable-diffusion",
    ]
    assert folders.folders("loras")[1:] == [webui / "models" / "Lora", webui / "models" / "LyCORIS"]
    assert folders.folders("text_encoders")[-1] == webui / "models" / "clip"
    assert folders.folders("controlnet")[:2] == [comfy / "models" / "more", comfy / "models" / "controlnet"]
    assert folders.folders("embeddings") == [models / "embeddings", here.resolve() / "beside_the_file"]
    file(models / "checkpoints" / "same.ckpt")
    first = file(comfy / "models" / "checkpoints" / "same.ckpt")
    file(webui / "models" / "Stable-diffusion" / "other.ckpt")
    assert folders.names("checkpoints") == ["other.ckpt", "same.ckpt"]
    assert folders.find("checkpoints", "same.ckpt") == first


def test_relative_base_paths_start_at_the_file(models):
    pytest.importorskip("yaml")
    models.parent.joinpath(EXTRA).write_text("a:\n  base_path: ../up\n  vae: |\n    one\n\n    two\n")
    up = models.parent.resolve().parent / "up"
    assert ModelFolders.of(models).folders("vae")[1:] == [up / "one", up / "two"]


@pytest.mark.parametrize(
    ("written", "said"), [("a: [b", "while parsing"), ("- a\n- b", "attribute"), ("a: 5", "attribute")]
)
def test_a_broken_file_is_told_and_left_out(models, caplog, written, said):
    pytest.importorskip("yaml")
    models.parent.joinpath(EXTRA).write_text(written)
    file(models / "vae" / "a.pt")
    folders = ModelFolders.of(models)
    assert folders.names("vae") == ["a.pt"]
    assert said in caplog.text and caplog.text.count("wasn't read") == 1
    with pytest.raises(ValueError, match=r"no VAE 'b' in .*extra_model_paths\.yaml wasn't read: "):
        folders.find("vae", "b")


def test_without_pyyaml_one_line_says_so(models, caplog, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    models.parent.joinpath(EXTRA).write_text("a:\n  vae: x\n")
    ModelFolders.of(models)
    ModelFolders.of(models)
    assert [record.message for record in caplog.records] == [
        f'{models.parent.resolve() / EXTRA} wasn\'t read: it needs PyYAML, pip install "comfyui-ddim[yaml]"'
    ]


@pytest.mark.parametrize(
    ("node", "widget", "kind", "noun"),
    [
        ("CheckpointLoaderSimple", "ckpt_name", "checkpoints", "checkpoint"),
        ("VAELoader", "vae_name", "vae", "VAE"),
        ("ControlNetLoader", "control_net_name", "controlnet", "ControlNet"),
        ("DiffusersLoader", "model_path", "diffusers", "diffusers folder"),
    ],
)
def test_loaders_look_there(models, node, widget, kind, noun):
    loader = STAND_IN_CLASS_MAPPINGS[node]
    file(models / kind / "sub" / ("x.pt" if kind != "diffusers" else "model_index.json"))
    name = "sub/x.pt" if kind != "diffusers" else "sub"
    with using(Context(models_dir=models)):
        assert name in loader.INPUT_TYPES()["required"][widget][0]
        assert loader.VALIDATE_INPUTS(**{widget: name.replace("/", "\\")}) is True
        assert loader.VALIDATE_INPUTS(**{widget: "gone"}).startswith(f"no {noun} 'gone' in {models / kind}")
        assert loader.VALIDATE_INPUTS() is True


def test_the_shipped_model_needs_no_folder(models):
    with using(Context(models_dir=models)):
        assert host.checkpoints() == [SHIPPED.name]
        assert host.find("checkpoints", SHIPPED.name) == SHIPPED
        assert host.embeddings() == []
        (models / "embeddings").mkdir(parents=True)
        assert host.embeddings() == [models / "embeddings"]
