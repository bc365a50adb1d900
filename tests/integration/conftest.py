"""Fixtures of the tests that need processes or services."""

from __future__ import annotations

from tests.integration.commands import olens
from tests.integration.services import registry_server
from tests.integration.stack import running_stack
from tests.integration.tracked import tracked
from tests.integration.training_project import training_project, without_figures

__all__ = [
    "olens",
    "registry_server",
    "running_stack",
    "tracked",
    "training_project",
    "without_figures",
]
