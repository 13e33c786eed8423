"""Short ways to write the playbooks of these tests."""

from __future__ import annotations

import textwrap


def playbook(workflow: str, head: str = "") -> str:
    """A whole playbook around a workflow (and further root keys), both written at any indentation."""
    return f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: test}}\n{textwrap.dedent(head)}\nworkflow:\n{textwrap.dedent(workflow)}\n"
