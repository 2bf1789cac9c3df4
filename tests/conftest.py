"""Makes pytest treat the repository root as a folder: its `__init__.py` is the package, not a test module."""

import pytest


class _RootIsAFolder:
    def __init__(self, root):
        self.root = root

    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == self.root else None


def pytest_configure(config):
    config.pluginmanager.register(_RootIsAFolder(config.rootpath))
