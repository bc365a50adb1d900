"""`olens doctor`: check the installation."""

from __future__ import annotations

import sys

from opinionlens_cli.console import JsonOption, print_json, print_table


def doctor_cli(as_json: JsonOption = False) -> None:
    """Check the installation: versions, plug-ins, compiled code, data, tracking store, models.

    Exits with 1 if something is broken.

    Example: olens doctor
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.doctor import examine

    findings = examine(load_settings())
    if as_json:
        print_json(findings)
    else:
        rows = [(f.subject, f.state, f.detail) for f in findings]
        print_table(["what", "state", "detail"], rows)
    if any(finding.state == "broken" for finding in findings):
        sys.exit(1)
