"""Imports the user's agents: a file's path or a module's name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from .errors import UsageError


def load(target: str) -> ModuleType:
    """The module of a file (`agents/refund.py`) or of a name (`shop.agents`), as `python` would find it."""
    if not (target.endswith(".py") or os.sep in target):
        sys.path.insert(0, os.getcwd())
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name is not None and (target == error.name or target.startswith(f"{error.name}.")):
                raise UsageError(f"no module `{target}`; give a file (`agent.py`) or a module's name") from None
            raise
    path = os.path.abspath(target)
    if not os.path.isfile(path):
        raise UsageError(f"no file `{target}`")
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules:
        name = f"{name}_agents"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"`{target}` is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
