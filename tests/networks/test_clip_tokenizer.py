"""CLIP's tokenizer against two others made from the same vocabulary, and where it looks for that vocabulary."""

import json
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from comfyui_ddim.networks.text import clip_tokenizer
from comfyui_ddim.networks.text.clip_tokenizer import ClipTokenizer, VocabularyError
from hypothesis import given, settings
from hypothesis import strategies as st

PROMPTS = [
    "a photo of an astronaut riding a horse on mars, 4k, trending on artstation",
    "It's the dog's bone; they'll say WE'RE 'd'd I'M don't 'S",
    "1girl, masterpiece, (best quality:1.2), 8k, f/1.4, 1234567890, 3.14e-5 ½ ² Ⅳ १२",
    "Größe, façade, Ñandú, e\u0301cole, Åland, İstanbul, ﬁne, ǅ, straße, ΣΊΣΥΦΟΣ",
    "  many   spaces\tand\nlines\r\n\u00a0\u2003\u3000here  ",
    "一只猫坐在沙发上",
    "夕日の中を走る白い猫、アニメ風",
    "고양이가 소파에 앉아 있다",
    "кот сидит на диване",
    "قطة تجلس على الأريكة",
    "बिल्ली सोफे पर बैठी है",
    "แมวนั่งอยู่บนโซฟา",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🚀🚀 👍🏽 ☕️ 1️⃣ 🇫🇷",
    "¯\\_(ツ)_/¯ (╯°□°）╯︵ ┻━┻ :-) <3 --ar 16:9 ::2 $100 50% @home #tag a_b_c a-b-c",
    "zalgo t̵̖̋e̸̛x̷t, zero\u200bwidth, soft\u00adhyphen, \ufeffmark, \x00nul \x01\x7f\x85",
    "pneumonoultramicroscopicsilicovolcanoconiosis " + "x" * 300,
    "",
    " ",
    "\U0001f9ff\U00010348\U0002070e\U000e0041",
]
WORDS = "a the cat's photo 4k of MARS über 猫 の 🚀 кот , . 's 12 - (red:1.3) é ½ _".split(" ")


@pytest.fixture(scope="module")
def ours() -> ClipTokenizer:
    return ClipTokenizer()


@pytest.fixture(scope="module")
def published():
    """The tokenizer that CLIP was published with, without what imports torchvision around it."""
    folder = Path(find_spec("clip").submodule_search_locations[0])
    spec = spec_from_file_location("clip_simple_tokenizer", folder / "simple_tokenizer.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


@pytest.fixture(scope="module")
def transformers_s(ours, tmp_path_factory):
    """Transformers' tokenizer of the published vocabulary, and the folder that it came from."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = ours._tokenizer.get_vocab(with_added_tokens=True)
    pairs = json.loads(ours._tokenizer.to_str())["model"]["merges"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder / "whole")
    return tokenizer, folder


def test_the_ids_are_the_published_ones(ours, published):
    assert ours._tokenizer.get_vocab() == published.encoder
    assert (ours.start, ours.end, ours.pad, ClipTokenizer(pad=0).pad) == (49406, 49407, 49407, 0)
    # Ids that CLIP's publication prints for its own example.
    assert ours.words("a diagram") == [320, 22697]


def test_prompts_become_what_clip_was_trained_on(ours, published):
    """As published; but that one first mends what it takes for damage, so it is asked only where it finds none."""
    import ftfy

    sound = [text for text in PROMPTS if ftfy.fix_text(text) == text]
    assert len(sound) > 12
    for text in sound:
        assert ours.words(text) == published.encode(text), text


def test_prompts_become_what_transformers_makes_of_them(ours, transformers_s):
    for text in PROMPTS:
        assert ours.words(text) == transformers_s[0](text)["input_ids"][1:-1], text


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from([*WORDS, *PROMPTS]), max_size=12).map(" ".join))
def test_any_text_becomes_what_transformers_makes_of_it(ours, transformers_s, text):
    assert ours.words(text) == transformers_s[0](text)["input_ids"][1:-1]


def test_marks_in_a_prompt_are_ids(ours):
    assert ours.words("a<|endoftext|>b <|startoftext|>") == [320, 49407, 321, 49406]


def test_half_a_character_is_unreadable_but_no_error(ours):
    assert ours.words("a \ud83d b") == ours.words("a \ufffd b")
    assert ours.words("\ud83d\ude80") == ours.words("🚀")


@pytest.mark.parametrize("place", ["", "whole"], ids=["vocab.json", "tokenizer.json"])
def test_a_folder_beside_the_checkpoint(ours, transformers_s, place, monkeypatch):
    folder = transformers_s[1] / place
    assert (folder / "tokenizer.json").is_file() == (place == "whole")
    monkeypatch.setattr(clip_tokenizer, "PACKAGES", ())
    for text in PROMPTS:
        assert ClipTokenizer(folder=folder).words(text) == ours.words(text)


def test_packages_that_ship_it_are_found_and_not_imported():
    code = (
        "import sys; from comfyui_ddim.networks.text import clip_tokenizer as c\n"
        "assert 'tokenizers' not in sys.modules\n"
        "print(c.ClipTokenizer().words('a diagram'), *({'clip', 'open_clip', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[320, 22697]"


def test_the_other_package_s_place(ours, tmp_path, monkeypatch):
    """Packages under the name open_clip ship the same file; a package named clip may be another."""
    packaged = Path(find_spec("clip").submodule_search_locations[0]) / clip_tokenizer.PACKAGED
    for name in ("clip", "open_clip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "open_clip" / clip_tokenizer.PACKAGED).symlink_to(packaged)
    monkeypatch.syspath_prepend(tmp_path)
    assert clip_tokenizer._find(None).parent == tmp_path / "open_clip"
    assert ClipTokenizer().words("a diagram") == [320, 22697]


def test_no_vocabulary_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_tokenizer, "PACKAGES", ("a_package_that_is_not_there",))
    with pytest.raises(VocabularyError, match=r'pip install "comfyui-ddim\[sd\]"') as raised:
        ClipTokenizer(folder=tmp_path / "tokenizer").words("a")
    assert str(tmp_path / "tokenizer") in str(raised.value) and "\n" not in str(raised.value)


def test_no_library_is_one_line_that_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    clip_tokenizer._load.cache_clear()
    with pytest.raises(VocabularyError, match=r'pip install "comfyui-ddim\[sd\]"'):
        ClipTokenizer().words("a")


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("content", ["", "{}", "[]", '{"a": 0}', "\u0000"])
def test_a_damaged_vocabulary_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(VocabularyError, match=name.replace(".", r"\.")):
        ClipTokenizer(folder=tmp_path).words("a")
