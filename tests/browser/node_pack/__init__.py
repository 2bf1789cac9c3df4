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
NODE_DISPLAY_NAME_MAPPINGS = {"ReadingSource": "Reading: source"}
