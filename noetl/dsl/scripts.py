"""Scripts that tools read from files: which a playbook names, and the playbook with their texts in it, which needs no files any more."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from noetl.dsl.playbook import Playbook
from noetl.dsl.template import has_template

EMBEDDED: Final = "embedded"
"""The type of a source that holds its text itself, as base64: a text with braces in it is no template of the playbook."""


def file_scripts(playbook: Playbook) -> Iterator[str]:
    """The names of the files, in the order of the playbook. One that a template makes is known only when it runs: it is left out."""
    names: dict[str, None] = {}
    _walk(msgspec.to_builtins(playbook), names.setdefault)  # (which gives no text)
    yield from names


def embedded(playbook: Playbook, files: Mapping[str, str]) -> Playbook:
    """The playbook with the texts of `files` in place of their names."""
    if not files:
        return playbook
    return msgspec.convert(_walk(msgspec.to_builtins(playbook), files.get), Playbook)


def _walk(node: Any, text_of: Callable[[str], str | None]) -> Any:
    """The node, with every script of which `text_of` knows the text embedded."""
    if isinstance(node, dict):
        walked = {key: _walk(value, text_of) for key, value in node.items()}
        script = node.get("fields", {}).get("script") if isinstance(node.get("fields"), dict) and "label" in node else None
        name = None if script is None else _file_of(script)
        text = None if name is None else text_of(name)
        if text is not None:
            walked["fields"]["script"] = {"uri": name, "source": {"type": EMBEDDED, "code": base64.b64encode(text.encode()).decode()}}
        return walked
    return [_walk(item, text_of) for item in node] if isinstance(node, (list, tuple)) else node


def _file_of(script: Any) -> str | None:
    """The file that a script comes from; None: it comes from elsewhere."""
    about = {"uri": script} if isinstance(script, str) else script
    if not isinstance(about, dict):
        return None
    uri, source = about.get("uri"), about.get("source") or {}
    if not isinstance(uri, str) or not uri or has_template(uri) or not isinstance(source, dict):
        return None
    kind = source.get("type") or ("file" if urlsplit(uri).scheme in ("", "file") else None)
    return uri if kind == "file" else None
