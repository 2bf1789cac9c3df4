"""Whether a run gave what its case expects: a line for each thing that it didn't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..executor.errors import WorkflowError
from ..prompts.messages import name_node
from ..prompts.overrides import title_of
from .cases import Case, Color, Expectation
from .measures import as_array, as_pictures, is_latent, is_pictures, is_tensor
from .results import Outcome

Column = tuple[str, Sequence[Any]]
"""`(name, items)` of an output, or of what goes into an output node."""


def nodes_called(outcome: Outcome, name: str) -> list[str]:
    """The ids of the nodes with this id, title or class; raises WorkflowError if there are none."""
    prompt = outcome.prompt
    found = [key for key, node in prompt.items() if name in (key, title_of(node), node.get("class_type"))]
    if not found:
        known = ", ".join(f"{key} ({title_of(node)})" for key, node in list(prompt.items())[:12])
        raise WorkflowError(f"no node {name!r}; there are {known}")
    return found


def check_run(case: Case, outcome: Outcome) -> Iterator[str]:
    """Faults of the run itself: refused, failed, what ran, how long it took."""
    yield from _check_end(case, outcome)
    if outcome.refused is not None or outcome.failed is not None:
        return
    for name in case.ran:
        if not any(node in outcome.ran for node in nodes_called(outcome, name)):
            yield f"{name}: wasn't called, expected to run"
    for node_id, node in outcome.prompt.items():
        if node.get("class_type") == "AssertExecuted" and node_id not in outcome.ran:
            yield f"{name_node(outcome.prompt, node_id)}: wasn't called"
    if case.seconds is not None and outcome.seconds > case.seconds:
        yield f"the run took {outcome.seconds:.2f} seconds, expected at most {case.seconds:g}"
    if case.megabytes is not None and outcome.megabytes is not None and outcome.megabytes > case.megabytes:
        yield f"the run took {outcome.megabytes:.0f} MB of memory, expected at most {case.megabytes:g}"


def _check_end(case: Case, outcome: Outcome) -> Iterator[str]:
    for kind, wanted, got in (("refused", case.refused, outcome.refused), ("failed", case.fails, outcome.failed)):
        if wanted is None and got is not None:
            yield from (f"{kind}: {line}" for line in got.splitlines())
        elif wanted is not None and got is None:
            other = outcome.failed or outcome.refused
            yield f"expected to be {kind} with {wanted!r}, but " + (f"got: {other}" if other else "it ran to its end")
        elif wanted is not None and wanted not in got:
            yield f"{kind}, but without {wanted!r} in the message: {got}"


def check_again(case: Case, outcome: Outcome) -> Iterator[str]:
    """Faults of a second run on the same executor."""
    for name in case.cached:
        again = [node for node in nodes_called(outcome, name) if node in outcome.ran]
        for node in again:
            yield f"{name_node(outcome.prompt, node)}: was called again, expected its cached result to be used"


def check_finite(outcome: Outcome, case: Case) -> Iterator[str]:
    """Faults of what reaches the output nodes: a NaN, an infinity, a picture of one colour."""
    for target in outcome.targets:
        title = title_of(outcome.prompt[target])
        allowed = any(one.blank for one in case.about(target, outcome.prompt[target]))
        for name, items in outcome.reaching(target):
            for value in items:
                fault = _not_finite(value) or (None if allowed else _blank(value))
                if fault:
                    yield f"{title}, {name}: {fault}"
                    break


def _not_finite(value: Any) -> str | None:
    if not (is_tensor(value) or is_latent(value)):
        return None
    array = as_array(value)
    bad = array.size - int(np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
    return f"{bad} of {array.size} values are NaN or infinite" if bad else None


def _blank(value: Any) -> str | None:
    """A picture of one colour; masks may be."""
    if not is_pictures(value) or value.ndim != 4:
        return None
    for index, picture in enumerate(as_pictures([value])):
        if np.ptp(picture.reshape(-1, picture.shape[-1]), axis=0).max() < 1 / 255:
            color = ", ".join(f"{part:.2f}" for part in picture[0, 0])
            return f"image {index} is blank, of one color ({color}); blank = true allows it"
    return None


def check_node(expected: Expectation, columns: Sequence[Column]) -> Iterator[str]:
    """Faults of what a node gave."""
    for measure, check in _CHECKS.items():
        if getattr(expected, measure) in (None, ()):
            continue
        fits, check_items = check
        found = [column for column in columns if expected.output in (None, column[0])]
        column = next((one for one in found if one[1] and all(map(fits, one[1]))), None)
        if column is None:
            has = ", ".join(f"{name} ({_kinds(items)})" for name, items in columns) or "nothing"
            yield f"{expected.node}: no output that {measure} applies to; it has {has}"
            continue
        yield from (f"{expected.node}, {column[0]}: {line}" for line in check_items(expected, column[1]))


def _kinds(items: Sequence[Any]) -> str:
    return ", ".join(sorted({type(item).__name__ for item in items})) or "empty"


def _check_count(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    if all(map(is_pictures, items)):
        count = len(as_pictures(items))
    else:
        count = sum(len(item["samples"]) if is_latent(item) else 1 for item in items)
    if count != expected.count:
        yield f"count {count}, expected {expected.count}"


def _check_size(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    for picture in as_pictures(items):
        size = [picture.shape[1], picture.shape[0]]
        if size != expected.size:
            yield f"size {size[0]} x {size[1]}, expected {expected.size[0]} x {expected.size[1]}"
            return


def _check_shape(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    for item in items:
        shape, wanted = list(as_array(item).shape), expected.shape
        if len(shape) != len(wanted) or any(asked not in (-1, got) for got, asked in zip(shape, wanted, strict=False)):
            yield f"shape {shape}, expected {wanted}"
            return


def _check_range(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    lowest, highest = expected.range
    for item in items:
        array = np.asarray(item) if isinstance(item, (int, float)) else as_array(item)
        if not (lowest <= array.min() and array.max() <= highest):
            yield f"range {array.min():.4g} to {array.max():.4g}, expected {lowest:g} to {highest:g}"
            return


def _check_color(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    pictures = as_pictures(items)
    for color in expected.color:
        yield from _color_faults(color, pictures)


def _color_faults(color: Color, pictures: Sequence[np.ndarray]) -> Iterator[str]:
    if not 0 <= color.index < len(pictures):
        yield f"color of image {color.index}, but there are {len(pictures)} images, counted from 0"
        return
    picture, (x, y) = pictures[color.index], color.at
    if not (0 <= x < picture.shape[1] and 0 <= y < picture.shape[0]):
        yield f"color at {x}, {y}, but the image is {picture.shape[1]} x {picture.shape[0]}"
        return
    around = picture[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2, :3]
    got = np.broadcast_to(255 * around.mean(axis=(0, 1)), 3)
    off = float(np.abs(got - color.rgb).max())
    if not off <= color.within:
        names = "#{:02x}{:02x}{:02x}"
        seen = names.format(*np.round(np.clip(np.nan_to_num(got), 0, 255)).astype(int))
        wanted = names.format(*color.rgb)
        yield f"color at {x}, {y} is {seen}, {off:.0f} off {wanted}, expected at most {color.within:g}"


def _check_equals(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    for item in items:
        wanted = expected.equals
        numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (item, wanted))
        if not (abs(item - wanted) <= expected.within if numbers else item == wanted):
            yield f"is {item!r}, expected {wanted!r}" + (f" within {expected.within:g}" if expected.within else "")
            return


def _check_text(expected: Expectation, items: Sequence[Any]) -> Iterator[str]:
    text = "\n".join(items)
    if expected.text not in text:
        shown = text if len(text) <= 200 else text[:200] + "..."
        yield f"{expected.text!r} doesn't occur in {shown!r}"


def _is_array(value: Any) -> bool:
    return is_tensor(value) or is_latent(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


_CHECKS: dict[str, Any] = {
    "count": (lambda value: True, _check_count),
    "size": (is_pictures, _check_size),
    "shape": (_is_array, _check_shape),
    "range": (lambda value: _is_array(value) or isinstance(value, (int, float)), _check_range),
    "color": (is_pictures, _check_color),
    "equals": (_is_plain, _check_equals),
    "text": (lambda value: isinstance(value, str), _check_text),
}
