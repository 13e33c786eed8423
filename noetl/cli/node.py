"""`noetl node`, `noetl server` and `noetl worker`: nodes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from noetl.cli.servers import Server, ask, here_or_server_options, is_named

if TYPE_CHECKING:
    from noetl.engine.client import NodeInfo
    from noetl.node.nodefile import NodeFile

_START_S: Final = 60.0
_STOP_S: Final = 60.0
_LOOK_S: Final = 0.05

id_option = click.option("--id", "node_id", metavar="ID", help="The node's name. Default: PROFILE-HOST-RANDOM.")
port_option = click.option("--port", type=click.IntRange(0, 65_535), help="The API's port. Default: the setting api.port, 8082. 0: any free one.")
config_option = click.option(
    "--config-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where nodes/ and config/ are looked up first.",
)
detach_option = click.option("--detach", is_flag=True, help="Return when the node is ready; it goes on in the background.")
node_argument = click.argument("node_id", required=False, metavar="[NODE]")
force_option = click.option("--force", is_flag=True, help="Kill it at once (SIGKILL).")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def node() -> None:
    """Start, list and stop nodes of this machine; list and drain those of a cluster."""


@node.command("start")
@click.argument("profile")
@id_option
@port_option
@config_option
@detach_option
def start(profile: str, node_id: str | None, port: int | None, config_dir: Path | None, *, detach: bool) -> None:
    """Start a node: PROFILE is a file of nodes/, such as solo. It runs until SIGTERM or Ctrl-C, which drain it."""
    _start(profile, node_id, port, config_dir, detach=detach)


@node.command("list")
@json_option
@here_or_server_options
def list_(server: Server, *, as_json: bool) -> None:
    """List the nodes that run here; with a server, those of its cluster."""
    import msgspec

    from noetl.engine.client import NodeList
    from noetl.node.nodefile import nodes_here

    remote = is_named(server)
    found = ask(server, lambda client: client.nodes()) if remote else NodeList(entries=tuple(each.info for each in nodes_here(_home())))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for info in found.entries:
        click.echo(_member_line(info) if remote else _line(info))


@node.command()
@node_argument
@json_option
def status(node_id: str | None, *, as_json: bool) -> None:
    """Say how a node does. Exit status 0: it takes requests."""
    import msgspec

    found = _found(node_id)
    state = _state(found)
    if as_json:
        click.echo(msgspec.json.encode({"node": found.info.node, "state": state, "pid": found.info.pid, "url": found.info.url}))
    else:
        click.echo(f"{_line(found.info)}  {state}")
    raise SystemExit(0 if state == "ready" else 1)


@node.command()
@node_argument
@here_or_server_options
def drain(node_id: str | None, server: Server) -> None:
    """Let a node end: nothing new starts, what runs may finish. Returns at once. With a server: any node of its cluster, on whatever machine."""
    if not is_named(server):
        os.kill(_found(node_id).info.pid, signal.SIGTERM)
        return
    if node_id is None:
        raise click.UsageError("say which node of the cluster: noetl node list names them")
    ask(server, lambda client: client.drain_node(node_id))


@node.command()
@node_argument
@force_option
def stop(node_id: str | None, *, force: bool) -> None:
    """Stop a node and wait until it has ended."""
    _stop(_found(node_id), force=force)


@click.group()
def server() -> None:
    """Start and stop the server of this machine."""


@server.command("start")
@id_option
@port_option
@config_option
@detach_option
def server_start(node_id: str | None, port: int | None, config_dir: Path | None, *, detach: bool) -> None:
    """Start a node of profile solo; of profile server, once the settings nats.urls and postgres.dsn are there."""
    _start(_server_profile(config_dir), node_id, port, config_dir, detach=detach)


@server.command("stop")
@node_argument
@force_option
def server_stop(node_id: str | None, *, force: bool) -> None:
    """Stop the server and wait until it has ended."""
    _stop(_found(node_id), force=force)


@click.group()
def worker() -> None:
    """Start and stop workers of a cluster."""


@worker.command("start")
@click.argument("profile", default="worker-cpu")
@id_option
@config_option
@detach_option
def worker_start(profile: str, node_id: str | None, config_dir: Path | None, *, detach: bool) -> None:
    """Start a node that runs steps for servers: PROFILE is worker-cpu, worker-python, worker-gpu, or a file of your own in nodes/."""
    _start(profile, node_id, None, config_dir, detach=detach)


@worker.command("stop")
@node_argument
@force_option
def worker_stop(node_id: str | None, *, force: bool) -> None:
    """Stop a worker and wait until it has ended."""
    _stop(_found(node_id), force=force)


# -- how ---------------------------------------------------------------------------------------------------------------


def _server_profile(config_dir: Path | None) -> str:
    from noetl.cli.problems import fail
    from noetl.errors import SettingsError
    from noetl.node.profile import load_settings

    try:
        settings, _ = load_settings({"NOETL_ENV": "dev", **os.environ}, config_dir)
    except SettingsError as error:
        fail(str(error), 2)
    return "server" if settings.nats.urls and settings.postgres.dsn is not None else "solo"


def _start(profile: str, node_id: str | None, port: int | None, config_dir: Path | None, *, detach: bool) -> None:
    from noetl.cli.problems import fail, say
    from noetl.errors import NoetlError, SettingsError
    from noetl.node.boot import run_on_loop
    from noetl.node.profile import load_profile, load_settings, needed
    from noetl.node.standing import Standing, new_node_id, stand

    try:
        loaded = load_profile(profile, config_dir)
        settings, warnings = load_settings({"NOETL_ENV": "dev", **os.environ}, config_dir)
        needed(loaded, settings)
    except SettingsError as error:
        fail(str(error), 2)
    node_id = node_id or new_node_id(profile)
    if detach:
        _detached(profile, node_id, port, config_dir)
        return
    for warning in warnings:
        say(f"warning: {warning}")
    try:
        run_on_loop(lambda: stand(Standing(loaded, settings, _home(), node_id, port, os.environ, say)))
    except SettingsError as error:
        fail(str(error), 2)
    except NoetlError as error:
        fail(str(error))


def _detached(profile: str, node_id: str, port: int | None, config_dir: Path | None) -> None:
    """Start it as a process of its own, and wait until it is ready or has ended."""
    from noetl.cli.problems import fail
    from noetl.node.nodefile import nodes_here

    home = _home()
    log = home / "logs" / f"{node_id}.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = [*(["--port", str(port)] if port is not None else []), *(["--config-dir", str(config_dir)] if config_dir is not None else [])]
    command = [sys.executable, "-m", "noetl", "node", "start", profile, "--id", node_id, *options]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)  # noqa: S603  ourselves
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        for each in nodes_here(home):
            if each.info.node == node_id:
                click.echo(f"node {node_id} {'is ready' if each.info.url is None else f'listens at {each.info.url}'}")
                return
        if process.poll() is not None:
            fail(f"the node did not start: {log.read_text(encoding='utf-8', errors='replace').strip()}", process.returncode or 1)
        time.sleep(_LOOK_S)
    fail(f"the node is not ready after {_START_S:g} s: {log} may say why")


def _home() -> Path:
    from noetl.node.place import home_dir

    return home_dir(os.environ)


def _found(node_id: str | None) -> NodeFile:
    from noetl.cli.problems import fail
    from noetl.errors import NotFound
    from noetl.node.nodefile import node_here

    try:
        return node_here(_home(), node_id)
    except NotFound as error:
        fail(str(error), 2)


def _stop(found: NodeFile, *, force: bool) -> None:
    from noetl.cli.problems import fail
    from noetl.node.incarnation import is_alive

    os.kill(found.info.pid, signal.SIGKILL if force else signal.SIGTERM)
    until = time.monotonic() + _STOP_S
    while is_alive(found.process):
        if time.monotonic() > until:
            fail(f"{found.info.node} (pid {found.info.pid}) has not ended after {_STOP_S:g} s: --force kills it")
        time.sleep(_LOOK_S)
    click.echo(f"node {found.info.node} has ended")


def _line(info: NodeInfo) -> str:
    return f"{info.node}  {info.profile}  pid {info.pid}  {info.url or '(no API)'}"


def _member_line(info: NodeInfo) -> str:
    state = "draining" if info.draining else "ready" if info.alive else "silent"
    pools = ", ".join(f"{name}: {slots}" for name, slots in sorted(info.pools.items()))
    does = [*([f"{info.shards} shards"] if info.shards else []), *([f"slots {pools}"] if pools else [])]
    return "  ".join((info.node, info.profile, state, info.host, f"v{info.version}", info.url or "(no API)", *does))


def _state(found: NodeFile) -> str:
    """ready, draining, or silent. One without an API is ready as long as it runs."""
    if found.info.url is None:
        return "ready"
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    address = urlsplit(found.info.url or "")
    connection = HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/ready")
        answer: Any = connection.getresponse()
    except (OSError, HTTPException):
        return "silent"
    else:
        return "ready" if answer.status == 200 else "draining"
    finally:
        connection.close()
