"""Files that are cut off or written anew while they are read, and small ones that have no end."""

import os
import pickle
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.networks import CheckpointError, LatentDiffusion, load_checkpoint
from comfyui_ddim.networks.loading import stored
from comfyui_ddim.networks.text.textual_inversion import find_vectors
from safetensors.torch import load_file, save_file
from small_files import NARROW, same

CHANGED = r"a\.(safetensors|ckpt): it was changed or cut off while it was read: load it again"


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(NARROW).eval().requires_grad_(False)


@pytest.fixture
def tensors(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def saved(tensors, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 1}, path)
    return path


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def write_anew(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    time.sleep(0.02)  # a clock tick later than it was written
    path.write_bytes(content)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(100))
    other.replace(path)


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("change", [cut_off, write_anew, replace])
@pytest.mark.parametrize("after", [1, 3, 20, 100])
def test_a_file_that_changes_while_it_is_read(model, tensors, tmp_path, monkeypatch, ending, change, after):
    path = saved(tensors, tmp_path / f"a.{ending}")
    read, reads = stored.OpenFile.read, iter(range(10**6))

    def read_and_change(self, start, count):
        result = read(self, start, count)
        if next(reads) == after:
            change(path)
        return result

    monkeypatch.setattr(stored.OpenFile, "read", read_and_change)
    if change is replace:  # what was opened is still there, under no name
        assert same(load_checkpoint(path), model)
    else:
        with pytest.raises(CheckpointError, match=CHANGED):
            load_checkpoint(path)
    assert next(reads) > after


LOADER = """
import sys
from pathlib import Path
from comfyui_ddim.networks import CheckpointError, load_checkpoint
print("ready", flush=True)
for _ in range(1000):
    try:
        load_checkpoint(Path(sys.argv[1]))
    except CheckpointError as error:
        assert "\\n" not in str(error)
        print(error, flush=True)
"""


def test_no_race_ends_the_process(tmp_path):
    """Another process cuts the file off and writes it anew, over and over: errors, each a line, and no signal."""
    whole = SHIPPED.read_bytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole)
    child = subprocess.Popen([sys.executable, "-c", LOADER, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    for i in range(30):
        with path.open("r+b") as file:
            file.truncate(len(whole) * i // 40)
            time.sleep(0.02)
            file.seek(0)
            file.write(whole)
        time.sleep(0.05)
    assert child.poll() is None
    child.terminate()
    out, errors = child.communicate(timeout=60)
    assert out.count(b"a.safetensors: ") >= 5
    assert errors == b""


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_file_is_read_once_and_what_is_not_needed_never(model, tensors, tmp_path, ending):
    """The moving average, three times the size of the rest, stays on the disk."""
    rest = {f"model_ema.{i}": torch.zeros(3 * 250_000) for i in range(4)}
    path = saved(tensors | rest, tmp_path / f"a.{ending}")
    own = sum(t.nbytes for t in tensors.values())
    assert path.stat().st_size > 3 * own
    load_checkpoint(saved(tensors, tmp_path / f"first.{ending}"))  # with what is imported on the way
    before = bytes_read()
    assert same(load_checkpoint(path), model)
    assert bytes_read() - before < 1.5 * own


def test_a_file_is_not_held_in_memory_twice(tmp_path):
    """As float16 in the file and float32 in memory: no more than the latter, and a tensor."""
    script = f"""
import resource, sys, torch
from pathlib import Path
from comfyui_ddim.networks import load_checkpoint
from comfyui_ddim.networks.loading.checkpoint import LatentDiffusion, save_checkpoint
from comfyui_ddim.networks.latent_diffusion import ModelConfig, UNetConfig, AutoencoderConfig, TextConfig
path = Path({str(tmp_path / "a.safetensors")!r})
config = ModelConfig(UNetConfig(channels=(256, 512), attention=(True, False)), AutoencoderConfig((64, 64)),
                     TextConfig(1000, 77, 768, 2, 12, 512))
if sys.argv[1] == "write":
    save_checkpoint(LatentDiffusion(config), path)
else:
    torch.set_num_threads(1)
    load_checkpoint(Path({str(SHIPPED)!r}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = load_checkpoint(path)
    size = sum(p.nbytes for p in model.parameters()) / 1024
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / size, size)
"""
    subprocess.run([sys.executable, "-c", script, "write"], check=True)
    out = subprocess.run([sys.executable, "-c", script, "read"], check=True, capture_output=True, text=True).stdout
    ratio, size = map(float, out.split())
    assert size > 100_000  # KiB
    assert ratio < 1.2


def holding_itself():
    content = {}
    content["state_dict"] = content
    return content


def doubling(levels):
    content = [torch.zeros(1)]
    for _ in range(levels):
        content = [content, content]
    return content


def nested(levels):
    content = torch.zeros(3, 64)
    for _ in range(levels):
        content = {"state_dict": content}
    return content


ENDLESS = {
    "itself": holding_itself(),
    "doubling": {"state_dict": doubling(60)},
    "doubling alone": doubling(60),
    "deep": nested(100),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ENDLESS)
def test_small_files_without_an_end(tmp_path, name, legacy):
    path = tmp_path / "a.pt"
    torch.save(ENDLESS[name], path, _use_new_zipfile_serialization=not legacy)
    assert path.stat().st_size < 20_000
    with pytest.raises(CheckpointError, match=r"a\.pt: .*expected"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"embedding 'a': .*a\.pt: "):
        find_vectors("a", [tmp_path], 64)


BROKEN = {
    "empty": b"",
    "one byte": b"\x80",
    "text": b"hello",
    "zip": b"PK\3\4",
    "cut off": pickle.dumps({"a": 1})[:-1],
    "none": pickle.dumps(None, protocol=2),
}


@pytest.mark.parametrize("ending", ["pt", "bin", "safetensors"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_embeddings_are_a_line(tmp_path, name, ending):
    (tmp_path / f"a.{ending}").write_bytes(BROKEN[name])
    with pytest.raises(CheckpointError, match=rf"embedding 'a': .*a\.{ending}: .*expected") as caught:
        find_vectors("a", [tmp_path], 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(0, 64),
        torch.full((1, 64), torch.nan),
        torch.zeros(1, 64).long(),
        torch.zeros(5000, 64),
        torch.zeros(3, 0),
    ],
)
def test_embeddings_that_are_no_vectors_are_a_line(tmp_path, content):
    torch.save({"string_to_param": {"*": content}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"embedding 'a': .*a\.pt: .*expected"):
        find_vectors("a", [tmp_path], 64)


def test_what_is_left_out_as_in_comfyui(tmp_path, caplog):
    """An embedding that isn't there, and one of another model."""
    assert find_vectors("a", [tmp_path], 64) is None
    torch.save({"string_to_param": {"*": torch.zeros(2, 32)}}, tmp_path / "b.pt")
    assert find_vectors("b", [tmp_path], 64) is None
    assert [record.getMessage() for record in caplog.records] == [
        "embedding 'a': no such file in the embeddings folder, left out",
        "embedding 'b': made for another model (width 32, expected 64), left out",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"<!DOCTYPE html><html>Access denied</html>",
            "a text, a web page that begins '<!DOCTYPE html><html>Access de'",
        ),
        (b"Invalid username or password.", "a text that begins 'Invalid username or password.'"),
    ],
)
def test_a_web_page_in_place_of_a_file(tmp_path, content, words):
    for name, read in (
        ("a.safetensors", lambda path: load_checkpoint(path)),
        ("b.pt", lambda path: find_vectors("b", [tmp_path], 64)),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{re.escape(words)}, expected a safetensors or torch file"):
            read(path)


def test_an_embedding_still_is_one(tmp_path):
    vectors = torch.randn(3, 64)
    torch.save({"string_to_token": {"*": 5}, "string_to_param": {"*": torch.nn.Parameter(vectors)}}, tmp_path / "a.pt")
    save_file({"emb_params": vectors}, tmp_path / "b.safetensors")
    assert torch.equal(find_vectors("a", [tmp_path], 64), vectors)
    assert torch.equal(find_vectors("b", [tmp_path], 64), vectors)


def test_a_zip_whose_entries_are_packed_is_read_too(model, tensors, tmp_path):
    """torch never writes one, but an archive program does; the tensors can't be read from their place then."""
    path = saved(tensors, tmp_path / "a.ckpt")
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "b.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert same(load_checkpoint(tmp_path / "b.ckpt"), model)


def test_views_in_a_torch_file(model, tensors, tmp_path):
    """Not contiguous, or parts of others: as training leaves them."""
    tensors = {
        name: t.transpose(0, 1).contiguous().transpose(0, 1) if t.ndim == 2 else torch.cat([t, t])[len(t) :]
        for name, t in tensors.items()
    }
    assert same(load_checkpoint(saved(tensors, tmp_path / "a.ckpt")), model)


def test_a_tensor_larger_than_its_values(tmp_path):
    """Expanded over a stride of 0, a few bytes would fill the memory."""
    name = "model.diffusion_model.input_blocks.0.0.weight"
    torch.save({name: torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="reaches beyond its data"):
        load_checkpoint(tmp_path / "a.ckpt")


def header(text: bytes, values: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + values


HEADERS = {
    "no entries": header(b"{}"),
    "a list": header(b"[ ]"),
    "no type": header(b'{"a":{"shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "an unknown type": header(b'{"a":{"dtype":"F5","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "a negative size": header(b'{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}', bytes(4)),
    "no numbers": header(b'{"a":{"dtype":"F32","shape":["x"],"data_offsets":[0,4]}}', bytes(4)),
    "no places": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', bytes(4)),
    "a gap": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)),
    "overlap": header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "too few bytes": header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', bytes(4)),
    "bytes after the end": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(20)),
    "deep": header(b'{"a":' + b"[" * 100_000),
    "a long header": (2**60).to_bytes(8, "little") + b"{",
    "metadata of numbers": header(b'{"__metadata__":{"a":1}}'),
    "metadata of a list": header(b'{"__metadata__":[1]}'),
    "a large tensor": header(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_none(tmp_path, name):
    path = tmp_path / "a.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: ") as raised:
        load_checkpoint(path)
    assert "expected" in str(raised.value) and "\n" not in str(raised.value)


def test_the_header_is_read_as_safetensors_reads_it(tmp_path):
    """Against the library: every type it writes, empty tensors, single numbers, metadata."""
    from comfyui_ddim.networks.loading.tensor_file import TYPES, read_file, tensor

    tensors = {name: torch.ones(2, 3).to(dtype) for name, dtype in TYPES.items()}
    tensors |= {"empty": torch.zeros(0, 5), "number": torch.tensor(3.0), "ä\n": torch.arange(3)}
    save_file(tensors, tmp_path / "a.safetensors", {"a": "b"})
    contents, expected = read_file(tmp_path / "a.safetensors"), load_file(tmp_path / "a.safetensors")
    assert contents.metadata == {"a": "b"}
    assert contents.tensors.keys() == expected.keys()
    for name, value in expected.items():
        found = tensor(contents.tensors[name])
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert torch.equal(found.float(), value.float())
