"""Grid (DDIM): pictures in rows and columns, labelled."""

import pytest
import torch
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS


def run(images, **options):
    values = {"columns": 2, "column_labels": "", "row_labels": "", "title": "", "gap": 4, **options}
    (sheet,) = NODE_CLASS_MAPPINGS["DDIMGrid"]().lay_out(images, **values)
    return sheet


def test_the_node_lays_batches_out_row_by_row():
    images = torch.linspace(0.1, 0.9, 4)[:, None, None, None].expand(4, 60, 80, 3)
    sheet = run(images)[0]
    levels = [round(float(value), 2) for value in sheet.unique() if (sheet == value).sum() == 80 * 60 * 3]
    assert levels == [0.1, 0.36, 0.64, 0.9]
    assert sheet[10, 10, 0] < sheet[10, 100, 0] < sheet[70, 10, 0] < sheet[70, 100, 0]
    labelled = run(images, column_labels="a\nb", row_labels="c\nd", title="all")
    assert labelled.shape[1] > sheet.shape[0] and labelled.shape[2] > sheet.shape[1]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"column_labels": "a"}, "1 column labels, expected 2, one per line"),
        ({"row_labels": "a\nb\nc"}, "3 row labels, expected 2, one per line"),
    ],
)
def test_the_node_asks_for_a_label_each(options, line):
    with pytest.raises(ValueError, match=line):
        run(torch.zeros(4, 8, 8, 3), **options)
