"""A node pack for ComfyUI whose inputs are of every kind that the browser treats differently."""

ANY = "*"


def node(required, optional=None, outputs=(), hidden=None, output=False, name=None):
    """A node class that declares these inputs and outputs and does nothing."""

    class Node:
        RETURN_TYPES = outputs
        FUNCTION = "run"
        CATEGORY = "reading"
        OUTPUT_NODE = output

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": required, "optional": optional or {}, "hidden": hidden or {}}

        def run(self, **inputs):
            return (None,) * len(outputs)

    return Node


NUMBER = ("INT", {"default": 7, "min": 0, "max": 100})
CHOICES = (["alpha", "beta", "gamma"],)

NODE_CLASS_MAPPINGS = {
    "ReadingSource": node({"number": NUMBER}, outputs=("INT", "FLOAT", "STRING", "IMAGE", "MASK", "BOOLEAN")),
    "ReadingWidgets": node(
        {
            "number": NUMBER,
            "real": ("FLOAT", {"default": 0.5, "step": 0.01}),
            "text": ("STRING", {"default": "hello"}),
            "lines": ("STRING", {"multiline": True, "default": "a\nb"}),
            "flag": ("BOOLEAN", {"default": True}),
            "choice": CHOICES,
        },
        outputs=("INT", "STRING"),
        output=True,
    ),
    "ReadingForced": node(
        {
            "first": NUMBER,
            "forced": ("FLOAT", {"forceInput": True, "default": 1.0}),
            "text": ("STRING", {"default": "t"}),
            "forced_text": ("STRING", {"forceInput": True}),
            "last": ("BOOLEAN", {"default": False}),
        },
        output=True,
    ),
    "ReadingSeeds": node(
        {
            "seed": ("INT", {"default": 0, "min": 0, "max": 2**53}),
            "other": ("INT", {"default": 3, "control_after_generate": True}),
            "noise_seed": ("INT", {"default": 5, "control_after_generate": False}),
            "choice": (["x", "y", "z"], {"control_after_generate": True}),
            "tail": ("STRING", {"default": "tail"}),
        },
        output=True,
    ),
    "ReadingOptional": node(
        {"image": ("IMAGE",), "strength": ("FLOAT", {"default": 1.0})},
        {"mask": ("MASK",), "note": ("STRING", {"default": ""}), "image2": ("IMAGE",), "kind": CHOICES},
        outputs=("IMAGE", "MASK"),
        hidden={"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
    ),
    "ReadingAny": node({"value": (ANY, {})}, {"other": (ANY, {})}, outputs=(ANY, "IMAGE")),
    "ReadingMixed": node(
        {"mask": ("MASK",), "image": ("IMAGE",), "either": ("IMAGE,MASK",), "scale": ("INT", {"default": 2})},
        outputs=("IMAGE", "MASK", "IMAGE,MASK", "LATENT", "INT"),
    ),
    "ReadingDynamic": node(
        {
            "text": ("STRING", {"multiline": True, "dynamicPrompts": True, "default": "a {b}"}),
            "plain": ("STRING", {"multiline": True, "default": "a {b|c}"}),
        },
        output=True,
    ),
    "ReadingComboV2": node(
        {
            "mode": ("COMBO", {"options": ["one", "two"], "default": "two"}),
            "many": ("COMBO", {"options": ["p", "q", "r"], "multi_select": True, "default": ["p", "q"]}),
            "numbers": ([1, 2, 3], {"default": 2}),
            "empty": ([],),
        },
        outputs=(["alpha", "beta", "gamma"],),
        output=True,
    ),
    "ReadingSave": node(
        {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}, output=True
    ),
    "ReadingDefaults": node(
        {
            "int_bare": ("INT",),
            "int_min": ("INT", {"min": 5, "max": 10}),
            "float_bare": ("FLOAT", {}),
            "float_min": ("FLOAT", {"min": 0.5}),
            "string_bare": ("STRING",),
            "bool_bare": ("BOOLEAN",),
            "null_default": ("INT", {"default": None}),
        },
        output=True,
    ),
    "ReadingCustomType": node({"thing": ("READING_THING",), "after": NUMBER}, outputs=("READING_THING",)),
}


def required(**inputs):
    """The inputs that one choice of a dynamic combo brings."""
    return {"required": inputs}


def dynamic(**choices):
    """A dynamic combo: each choice with the inputs it brings."""
    options = [{"key": key, "inputs": inputs} for key, inputs in choices.items()]
    return ("COMFY_DYNAMICCOMBO_V3", {"options": options})


def autogrow(name, spec, least=1, **more):
    """Inputs `prefix0`, `prefix1`, ... (or of the given names) of which one more shows than is linked."""
    return ("COMFY_AUTOGROW_V3", {"template": {"input": required(**{name: spec}), "min": least, **more}})


TAIL = ("INT", {"default": 3})
CURVE = {"points": [[0.0, 0.0], [0.5, 0.25], [1.0, 1.0]], "interpolation": "linear"}
BOX = {"x": 1, "y": 2, "width": 30, "height": 40}
SIZE = required(width=("INT", {"default": 512}), height=("INT", {"default": 256}))

NODE_CLASS_MAPPINGS |= {
    f"ReadingType_{kind}": node({"thing": (kind, {}), "tail": TAIL, "given": (kind, given), "end": TAIL}, output=True)
    for kind, given in {
        "COLOR": {"default": "#123456"},
        "COLORS": {"default": ["#111111", "#222222"]},
        "CURVE": {"default": CURVE},
        "RANGE": {"default": {"min": 0.25, "max": 0.75}},
        "BOUNDING_BOX": {"default": BOX},
        "BOUNDING_BOXES": {"default": [BOX | {"metadata": {"type": "obj", "text": "", "desc": "", "palette": []}}]},
        "PAINTER": {"default": ""},
        "COMPOSITOR": {"default": {"layers": []}},
        "MARKDOWN": {"default": "# a"},
        "TEXTAREA": {"default": "a"},
        "CHART": {},
        "GALLERIA": {},
        "VIDEO_EDIT": {},
        "READING_UNKNOWN": {"default": "a"},
    }.items()
} | {
    "ReadingCompare": node({"before": TAIL, "views": ("IMAGECOMPARE", {})}, output=True),
    "ReadingRecordings": node({"audio": ("AUDIO_RECORD", {}), "tail": TAIL}, output=True),
    "ReadingUnion": node(
        {
            "either": ("FLOAT,INT", {"widgetType": "FLOAT", "default": 0.5}),
            "painted": ("STRING", {"widgetType": "PAINTER", "image_upload": True, "default": "", "socketless": True}),
            "socket": ("FLOAT,INT", {}),
            "hidden": ("INT", {"hidden": True, "default": 5, "socketless": True}),
            "tail": TAIL,
        },
        output=True,
    ),
    "ReadingDynamicCombo": node(
        {
            "before": NUMBER,
            "mode": dynamic(
                none=required(),
                size=SIZE,
                text=required(text=("STRING", {"default": "t", "multiline": True}), seed=("INT", {"default": 1})),
                deep=required(
                    kind=dynamic(a=required(real=("FLOAT", {"default": 0.5})), b=SIZE, c=required()),
                    flag=("BOOLEAN", {"default": True}),
                ),
            ),
            "after": TAIL,
        },
        outputs=("INT",),
        output=True,
    ),
    "ReadingDynamicSockets": node(
        {
            "image": ("IMAGE", {}),
            "mode": dynamic(
                one=required(image=("IMAGE", {}), scale=("FLOAT", {"default": 2.0})),
                two=required(mask=("MASK", {}), image=("IMAGE", {})) | {"optional": {"note": ("STRING", {})}},
                many=required(images=autogrow("image", ("IMAGE", {}), prefix="image", max=4), count=NUMBER),
            ),
            "second": dynamic(x=required(scale=("FLOAT", {"default": 3.0})), y=required()),
            "mask": ("MASK", {}),
        },
        {"late": ("IMAGE", {})},
        outputs=("IMAGE", "MASK"),
        output=True,
    ),
    "ReadingAutogrow": node(
        {
            "images": autogrow("image", ("IMAGE", {}), 2, prefix="image", max=8),
            "named": autogrow("value", ("FLOAT,INT", {}), names=["a", "b", "c"]),
            "numbers": autogrow("number", ("INT", {"default": 4}), prefix="n", max=3),
            "forced": autogrow("real", ("FLOAT", {"forceInput": True}), 0, prefix="f", max=9),
            "tail": TAIL,
        },
        outputs=("IMAGE", {}),
        output=True,
    ),
    "ReadingRows": node(
        {
            "before": NUMBER,
            "numbers": autogrow("number", ("INT", {"default": 4}), prefix="n", max=4),
            "image": ("IMAGE", {}),
            "mode": dynamic(size=SIZE, none=required()),
            "images": autogrow("image", ("IMAGE", {}), prefix="image", max=8),
            "tail": TAIL,
        },
        {"late": ("IMAGE", {})},
        outputs=("INT", "IMAGE", "IMAGE", "IMAGE", "IMAGE"),
        output=True,
    ),
}
NODE_DISPLAY_NAME_MAPPINGS = {"ReadingSource": "Reading: source"}
