"""Build hook: put htmx into the server's static files.

htmx is not kept in this repository; it comes from the build requirement `django-htmx`, whose
static folder holds the minified file.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CopyHtmx(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        package = find_spec("django_htmx")
        if package is None or package.origin is None:
            raise RuntimeError("the build requirement django-htmx is missing")
        source = Path(package.origin).parent / "static" / "django_htmx" / "htmx-2.min.js"
        target = Path(self.root) / "opinionlens_server" / "static" / "vendor" / "htmx.min.js"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
