"""Where the text of a `script` comes from: a file, the playbook itself, or a URL (docs/reference/language.md, script sources).

script: {uri: scripts/clean.py, source: {type: file}}
script: {uri: clean.py, source: {type: http, endpoint: "https://example.org/scripts"}}
script: {uri: clean, source: {type: inline, code: "result = 1"}}
"""

from __future__ import annotations

import base64
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from noetl.errors import ToolError, ToolRefused
from noetl.tools.tool import ToolContext, find

_BY_SCHEME: Final = {"http": "http", "https": "http", "gs": "gcs", "s3": "s3"}
_TIMEOUT_S: Final = 30.0


class Source(Struct, frozen=True):
    type: Literal["file", "http", "gcs", "s3", "inline", "embedded"] | None = None
    """Default: by the scheme of the uri. embedded: `code` is the text in base64, as a registered playbook has it."""
    endpoint: str = ""
    method: str = "GET"
    headers: dict[str, str] = {}
    timeout: float = _TIMEOUT_S
    code: str | None = None


class Script(Struct, frozen=True):
    uri: str = ""
    source: Source = Source()


async def fetch(spec: Any, ctx: ToolContext) -> tuple[str, str]:
    """The script's text and its name.

    Raises:
        ToolError: kind `not_found`: there is no such file or page; it says where was looked.
        ToolRefused: kind `config`: a field is wrong, or the file lies outside the folders; `unsupported`: a source without a backend.
    """
    script = _parse(spec)
    kind = script.source.type or _BY_SCHEME.get(urlsplit(script.uri).scheme, "file")
    if kind == "inline":
        if script.source.code is None:
            raise ToolRefused("script: a source of type inline needs 'code'")
        return script.source.code, script.uri or f"<{ctx.call.step}>"
    if kind == "embedded":
        return base64.b64decode(script.source.code or "").decode(), script.uri
    if kind == "http":
        return await _from_http(script, ctx)
    if kind == "file":
        return await ctx.resources.run_blocking(from_file, script.uri, ctx.base_dirs)
    raise ToolRefused(f"script: a source of type {kind} has no backend in this version; use file, http or inline", kind="unsupported")


def _parse(spec: Any) -> Script:
    try:
        return msgspec.convert({"uri": spec} if isinstance(spec, str) else spec, Script)
    except msgspec.ValidationError as error:
        raise ToolRefused(f"script: {error}") from error


def from_file(uri: str, base_dirs: tuple[Path, ...]) -> tuple[str, str]:
    """The text of a file in one of the folders, and its name. Raises as `fetch`."""
    if not uri:
        raise ToolRefused("script: 'uri' is required: the path of the file")
    roots = [directory.resolve() for directory in base_dirs]
    places = [(root / uri.removeprefix("file://")).resolve() for root in roots]
    inside = [place for place in places if any(place.is_relative_to(root) for root in roots)]
    if not inside:
        raise ToolRefused(f"script: {uri} leads out of the folders that scripts may lie in: {', '.join(map(str, roots)) or 'none is set'}")
    for place in inside:
        if place.is_file():
            return _read(place), str(place)
    raise ToolError(f"script {uri} was not found; looked for {', '.join(map(str, dict.fromkeys(inside)))}", kind="not_found")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ToolRefused(f"script: {path} is no UTF-8 text") from None
    except PermissionError:
        raise ToolRefused(f"script: {path} may not be read by this process") from None


async def _from_http(script: Script, ctx: ToolContext) -> tuple[str, str]:
    if script.source.method.upper() != "GET":
        raise ToolRefused(f"script: method must be GET, not {script.source.method}")
    url = _url(script.uri, script.source.endpoint)
    find("http")  # says so when its driver is not installed
    from noetl.tools.http import get_text  # noqa: PLC0415  that driver is slow to import

    return await get_text(url, dict(script.source.headers), script.source.timeout, ctx), url


def _url(uri: str, endpoint: str) -> str:
    if urlsplit(uri).scheme in ("http", "https"):
        return uri
    if not endpoint:
        raise ToolRefused("script: an http source needs a 'uri' that is a whole URL, or an 'endpoint'")
    names_a_file = bool(PurePosixPath(urlsplit(endpoint).path).suffix)
    return endpoint if names_a_file or not uri else f"{endpoint.rstrip('/')}/{uri.lstrip('/')}"
