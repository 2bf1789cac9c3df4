"""Pictures of every mode and size, as the nodes that open them give them on."""

import struct
import zlib

import numpy as np
import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import picture_reading
from comfyui_ddim.nodes.core.images import LoadImage
from comfyui_ddim.nodes.core.masks import LoadImageMask
from comfyui_ddim.nodes.pictures import read_picture
from PIL import Image


def opened(folder, name):
    """What each way of opening a picture makes of its first pixels: grey in [0, 1]."""
    with using(Context(input_dir=folder)):
        yield LoadImage().load_image(name)[0][0, ..., 0]
        yield LoadImageMask().load_image(name, "red")[0][0]
    yield read_picture(folder / name)[0, ..., 0]


RAMP = np.linspace(0, 1, 16).reshape(4, 4)


def whole(kind, white):
    return np.rint(RAMP * white).astype(kind)


WIDE = {
    "16 bits.png": whole(np.uint16, 65535),
    "16 bits.tif": whole(np.uint16, 65535),
    "16 bits big-endian.tif": whole(">u2", 65535),
    "16 bits.ppm": whole(np.uint16, 65535),
    "32 bits.tif": whole(np.int32, 2**31 - 1),
    "floats to 1.tif": RAMP.astype(np.float32),
    "floats to 255.tif": (RAMP * 255).astype(np.float32),
    "floats to 65535.tif": (RAMP * 65535).astype(np.float32),
}


@pytest.mark.parametrize("name", WIDE)
def test_more_than_8_bits_are_scaled_by_their_range(tmp_path, name, caplog):
    Image.fromarray(WIDE[name]).save(tmp_path / name)
    for values in opened(tmp_path, name):
        assert torch.equal(values, torch.from_numpy(np.rint(RAMP * 255)).float() / 255)
    assert bool(caplog.records) == ("255" in name or "65535" in name)  # a guess is said


def unsigned_32_bits() -> bytes:
    """A TIFF of one row that Pillow doesn't write: whole numbers without a sign, of 32 bits."""
    tags = [(256, 4, 16), (257, 4, 1), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 64)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*tags, (339, 3, 1)])
    values = np.rint(RAMP.ravel() * (2**32 - 1)).astype("<u4").tobytes()
    return struct.pack("<2sHI", b"II", 42, 72) + values + struct.pack("<H", 9) + entries + bytes(4)


def test_32_bits_without_a_sign(tmp_path):
    (tmp_path / "a.tif").write_bytes(unsigned_32_bits())
    for values in opened(tmp_path, "a.tif"):
        assert torch.equal(values.flatten(), torch.from_numpy(np.rint(RAMP.ravel() * 255)).float() / 255)


@pytest.mark.parametrize("values", [[np.nan, 1], [-0.5, 1], [0, 1e6], [0, np.inf]])
def test_floats_of_no_known_range_are_an_error(tmp_path, values):
    Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif'?: an image of floats from .* to .*, expected 0 to 1"):
        list(opened(tmp_path, "a.tif"))


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_a_picture_or_a_line(tmp_path, mode):
    name = "a.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "a.tif"
    grey = 200 if mode != "I;16" else 200 * 257
    picture = Image.new("L", (8, 8), 200) if mode != "I;16" else Image.fromarray(np.full((8, 8), grey, np.uint16))
    if mode == "1":
        picture = Image.new("1", (8, 8), 1)
    elif mode != "I;16":
        picture = picture.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else picture.convert(mode)
    picture.save(tmp_path / name)
    for values in opened(tmp_path, name):
        assert (values - (1 if mode == "1" else 200 / 255)).abs().max() <= 2 / 255


def animation(path, frames, alpha=False):
    mode = "RGBA" if alpha else "RGB"
    pictures = [Image.new(mode, (8, 6), (40 * i, 0, 0, 100)[: len(mode)]) for i in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True)


@pytest.mark.parametrize("name", ["a.webp", "a.gif", "a.png", "a.tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_all_frames_are_read(tmp_path, name, alpha):
    animation(tmp_path / name, 5, alpha)
    with using(Context(input_dir=tmp_path)):
        pixels, mask = LoadImage().load_image(name)
    assert pixels.shape == (5, 6, 8, 3)
    assert len(mask) == 5
    assert pixels[:, 0, 0, 0].diff().min() > 0.1


def test_frames_are_read_one_at_a_time(tmp_path, monkeypatch):
    """Of 200 frames, the first is there before the second is decoded."""
    animation(tmp_path / "a.tif", 200)
    decoded = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: (decoded.append(self), load(self))[1])
    frames = picture_reading.read_frames(tmp_path / "a.tif", "a.tif")
    next(frames)
    assert len({id(each) for each in decoded}) < 5


def test_too_many_pixels_or_frames_are_refused_before_they_are_read(tmp_path, monkeypatch):
    animation(tmp_path / "a.webp", 5)
    monkeypatch.setattr(picture_reading, "MAX_FRAMES", 4)
    with pytest.raises(ValueError, match=r"'a\.webp': more than 4 frames, at most that many are read"):
        list(picture_reading.read_frames(tmp_path / "a.webp", "a.webp"))
    monkeypatch.setattr(picture_reading, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match=r"'a\.webp': 8 x 6 pixels in 3 frames, at most 100 pixels are read"):
        list(picture_reading.read_frames(tmp_path / "a.webp", "a.webp"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, values: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(values)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (20_000, 20_000), (10_000, 9_000)])
def test_a_declared_size_costs_nothing(tmp_path, size, recwarn):
    (tmp_path / "a.png").write_bytes(png(*size, b""))
    with pytest.raises(ValueError, match=r"'a\.png': .*pixels.* at most 89478485") as raised:
        list(opened(tmp_path, "a.png"))
    assert "\n" not in str(raised.value)
    assert not recwarn.list


DAMAGED = {
    "empty": b"",
    "text": b"hello",
    "signature": b"\x89PNG\r\n\x1a\n",
    "no values": png(8, 8, b""),
    "cut off": png(8, 8, bytes(8 * 25))[:-30],
    "no size": png(0, 0, b""),
    "gif": b"GIF89a" + bytes(20),
    "webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8),
    "tiff": b"II*\0\x08\0\0\0" + b"\xff" * 40,
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(20),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pictures_are_a_line(tmp_path, name):
    (tmp_path / "a.png").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"'a\.png' is not a readable image: .+") as raised:
        list(opened(tmp_path, "a.png"))
    assert "\n" not in str(raised.value)


def test_every_byte_of_a_small_picture_may_be_wrong(tmp_path):
    """Whatever is changed in a PNG, TIFF, GIF or WebP: a picture or a ValueError of one line."""
    rng = np.random.default_rng(0)
    for kind in ("png", "tif", "gif", "webp"):
        animation(tmp_path / f"a.{kind}", 2)
        content = (tmp_path / f"a.{kind}").read_bytes()
        for _ in range(60):
            changed = bytearray(content)
            for place in rng.integers(len(content), size=rng.integers(1, 4)):
                changed[place] = rng.integers(256)
            (tmp_path / "b").write_bytes(changed[: rng.integers(len(content) // 2, len(content) + 1)])
            try:
                frames = list(picture_reading.read_frames(tmp_path / "b", "b"))
                assert frames
            except ValueError as error:
                assert "\n" not in str(error)
