"""Build hook: put what browsers need into the server's static files.

It is not kept in this repository: htmx comes from the build requirement `django-htmx`, Swagger UI
from `drf-spectacular-sidecar`, whose static folders hold the minified files.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWAGGER_UI = "drf_spectacular_sidecar/swagger-ui-dist"
FILES = {
    "htmx.min.js": ("django_htmx", "django_htmx/htmx-2.min.js"),
    "swagger-ui-bundle.js": ("drf_spectacular_sidecar", f"{SWAGGER_UI}/swagger-ui-bundle.js"),
    "swagger-ui.css": ("drf_spectacular_sidecar", f"{SWAGGER_UI}/swagger-ui.css"),
}
"""Name of each file -> the package it comes from, and where it is in the static folder."""


class CopyStaticFiles(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        target = Path(self.root) / "opinionlens_server" / "web" / "static" / "vendor"
        target.mkdir(parents=True, exist_ok=True)
        for name, (package, file) in FILES.items():
            found = find_spec(package)
            if found is None or found.origin is None:
                raise RuntimeError(f"the build requirement {package.replace('_', '-')} is missing")
            shutil.copyfile(Path(found.origin).parent / "static" / file, target / name)
