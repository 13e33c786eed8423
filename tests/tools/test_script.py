"""Where scripts come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noetl.errors import ToolError, ToolRefused
from noetl.tools import python, script
from noetl.tools.script import fetch
from tests.tools.conftest import MakeContext


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The playbook's folder with sub/clean.py, and a catalog root with other.py; a secret lies beside both."""
    playbook, catalog = tmp_path / "playbook", tmp_path / "catalog"
    (playbook / "sub").mkdir(parents=True)
    catalog.mkdir()
    (playbook / "sub" / "clean.py").write_text("result = 'clean'")
    (catalog / "other.py").write_text("result = 'other'")
    (tmp_path / "secret.py").write_text("secret")
    return playbook, catalog


@pytest.mark.parametrize(
    ("spec", "text", "name"),
    [
        ({"uri": "sub/clean.py", "source": {"type": "file"}}, "result = 'clean'", "playbook/sub/clean.py"),
        ({"uri": "sub/../sub/clean.py"}, "result = 'clean'", "playbook/sub/clean.py"),
        ("other.py", "result = 'other'", "catalog/other.py"),
        ({"uri": "{folder}/catalog/other.py"}, "result = 'other'", "catalog/other.py"),
        ({"uri": "file://{folder}/catalog/other.py"}, "result = 'other'", "catalog/other.py"),
    ],
)
async def test_a_file_is_looked_for_in_every_folder(make_context: MakeContext, folders: tuple[Path, Path], spec: Any, text: str, name: str) -> None:
    folder = str(folders[0].parent)
    if isinstance(spec, dict):
        spec = spec | {"uri": spec["uri"].replace("{folder}", folder)}
    assert await fetch(spec, make_context(base_dirs=folders)) == (text, f"{folder}/{name}")


@pytest.mark.parametrize(
    "uri", ["../secret.py", "{folder}/secret.py", "sub/../../secret.py", "/etc/passwd", "file:///etc/passwd", "link.py", "linked/secret.py"]
)
async def test_a_file_outside_the_folders_is_refused(make_context: MakeContext, folders: tuple[Path, Path], uri: str) -> None:
    (folders[0] / "link.py").symlink_to(folders[0].parent / "secret.py")
    (folders[0] / "linked").symlink_to(folders[0].parent)
    with pytest.raises(ToolRefused, match="leads out of the folders") as caught:
        await fetch({"uri": uri.replace("{folder}", str(folders[0].parent))}, make_context(base_dirs=folders[:1]))
    assert caught.value.kind == "config"


async def test_a_link_from_one_folder_into_another_is_fine(make_context: MakeContext, folders: tuple[Path, Path]) -> None:
    (folders[0] / "link.py").symlink_to(folders[1] / "other.py")
    assert (await fetch("link.py", make_context(base_dirs=folders)))[0] == "result = 'other'"


async def test_a_file_that_is_nowhere_is_not_found_and_the_places_are_named(make_context: MakeContext, folders: tuple[Path, Path]) -> None:
    with pytest.raises(ToolError) as caught:
        await fetch("no.py", make_context(base_dirs=folders))
    assert caught.value.kind == "not_found"
    assert caught.value.message == f"script no.py was not found; looked for {folders[0]}/no.py, {folders[1]}/no.py"


async def test_a_file_that_is_no_text_is_refused(make_context: MakeContext, folders: tuple[Path, Path]) -> None:
    (folders[0] / "data.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ToolRefused, match="no UTF-8 text"):
        await fetch("data.py", make_context(base_dirs=folders))


async def test_inline_code_is_itself(make_context: MakeContext) -> None:
    assert await fetch({"uri": "clean", "source": {"type": "inline", "code": "x"}}, make_context()) == ("x", "clean")
    assert await fetch({"source": {"type": "inline", "code": "x"}}, make_context()) == ("x", "<fetch>")


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ({"uri": "a.py", "source": {"type": "gcs", "bucket": "b"}}, "unsupported", "type gcs has no backend"),
        ({"uri": "s3://b/a.py"}, "unsupported", "type s3 has no backend"),
        ({"uri": "a.py", "source": {"type": "ftp"}}, "config", "Invalid enum value 'ftp'"),
        ({"source": {"type": "file"}}, "config", "'uri' is required"),
        ({"source": {"type": "inline"}}, "config", "needs 'code'"),
        ({"uri": "a.py", "source": {"type": "http"}}, "config", "a whole URL, or an 'endpoint'"),
        ({"uri": "http://h/a.py", "source": {"type": "http", "method": "POST"}}, "config", "method must be GET"),
        (5, "config", "Expected `object`"),
    ],
)
async def test_a_wrong_source_says_what_is_wrong(make_context: MakeContext, spec: Any, kind: str, message: str) -> None:
    with pytest.raises(ToolRefused, match=message) as caught:
        await fetch(spec, make_context())
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("uri", "endpoint", "url"),
    [
        ("https://h/a.py", "", "https://h/a.py"),
        ("https://h/a.py", "https://other", "https://h/a.py"),
        ("a.py", "https://h/scripts", "https://h/scripts/a.py"),
        ("/a.py", "https://h/scripts/", "https://h/scripts/a.py"),
        ("a.py", "https://h/scripts/a.py", "https://h/scripts/a.py"),
        ("a.py", "https://h.example.org", "https://h.example.org/a.py"),
        ("", "https://h/scripts/a", "https://h/scripts/a"),
    ],
)
def test_the_url_of_an_http_source(uri: str, endpoint: str, url: str) -> None:
    assert script._url(uri, endpoint) == url


async def test_a_script_is_fetched_over_http(make_context: MakeContext) -> None:
    web = pytest.importorskip("aiohttp.web")

    async def clean(request: Any) -> Any:
        return web.Response(text=f"result = {request.headers['X-Team']!r}")

    app = web.Application()
    app.add_routes([web.get("/scripts/clean.py", clean)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/scripts"
    source = {"type": "http", "endpoint": endpoint, "headers": {"X-Team": "data"}}
    assert await fetch({"uri": "clean.py", "source": source}, make_context()) == ("result = 'data'", f"{endpoint}/clean.py")
    with pytest.raises(ToolError) as caught:
        await fetch({"uri": "no.py", "source": source}, make_context())
    assert caught.value.kind == "not_found"
    await runner.cleanup()


async def test_a_script_runs_under_its_path(make_context: MakeContext, folders: tuple[Path, Path]) -> None:
    (folders[0] / "fails.py").write_text("x = 1\n1/0\n")
    ctx = make_context(base_dirs=folders)
    assert await python.run(python.Input(script={"uri": "sub/clean.py"}), ctx) == "clean"
    with pytest.raises(ToolError) as caught:
        await python.run(python.Input(script="fails.py"), ctx)
    assert f'File "{folders[0]}/fails.py", line 2, in <module>\n    1/0' in caught.value.extra["traceback"]
