"""This very environment has the plugin: without it the shipped workflows would not be tested."""

from importlib.metadata import entry_points

import pytest


def test_the_plugin_is_installed():
    names = [one.name for one in entry_points(group="pytest11")]
    if "comfyui" not in names:
        pytest.fail("pytest doesn't know the plugin, so workflows/*.json aren't tested: pip install -e . once more")


def test_the_shipped_workflows_are_tests(pytestconfig):
    files = {file.name for file in (pytestconfig.rootpath / "workflows").glob("*.json")}
    from comfyui_ddim.testing.keys import FILES

    assert {file.name for file in pytestconfig.stash[FILES]} == files and len(files) >= 13
