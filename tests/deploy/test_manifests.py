"""What runs nodes elsewhere: manifests fit their schemas, and every command line in them is one of ours."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from noetl.cli.main import cli
from noetl.node.profile import known_variables, load_profile, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.30"
OTHER = {"NOETL_HOME", "NOETL_ENV", "NOETL_KEY"}


def documents(file: Path) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(file.read_text()))


def kubernetes() -> list[Any]:
    return [document for file in MANIFESTS for document in documents(file)]


def containers() -> list[dict[str, Any]]:
    pods = [document["spec"]["template"]["spec"] for document in kubernetes() if document["kind"] == "Deployment"]
    return [container for pod in pods for container in pod["containers"]]


def check_command(words: list[str]) -> None:
    """It is parsed as the command line would parse it; nothing runs. The profile that it names is there."""
    command: click.Command = cli
    context = click.Context(cli, info_name="noetl")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, list(words))
        assert found is not None, name
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.parse_args(context, list(words))
    if "profile" in context.params:
        load_profile(context.params["profile"])


@pytest.mark.parametrize("document", kubernetes(), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}")
def test_a_manifest_fits_the_schema_of_kubernetes(document: Any) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_container_starts_a_node_that_there_is() -> None:
    assert len(containers()) == 3
    for container in containers():
        check_command(container["args"])


def test_every_service_of_the_compose_file_starts_a_node_that_there_is() -> None:
    (compose,) = documents(DEPLOY / "compose.yaml")
    nodes = {name: service for name, service in compose["services"].items() if service["image"] == "noetl"}
    assert set(nodes) == {"server-1", "server-2", "worker-cpu", "worker-python"}
    for service in nodes.values():
        check_command(service["command"])


def test_every_line_of_the_procfile_is_a_command_of_ours_or_a_server() -> None:
    lines = [line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines()]
    assert [name for name, _ in lines] == ["nats", "postgres", "server-1", "server-2", "worker-cpu", "worker-python", "worker-gpu"]
    for _, line in lines[2:]:
        words = [re.sub(r"\$\{\w+:-(\d+)\}", r"\1", word) for word in shlex.split(line) if not word.startswith("NOETL_")]
        assert words[0] == "noetl"
        check_command(words[1:])


def test_every_variable_sets_something() -> None:
    texts = [file.read_text() for file in (*DEPLOY.rglob("*.yaml"), DEPLOY / "Containerfile", *DEPLOY.rglob("*.py"), ROOT / "Procfile")]
    named = {name for text in texts for name in re.findall(r"\bNOETL_[A-Z_]+\b", text)}
    assert named - OTHER <= set(known_variables())


def test_the_settings_of_the_local_cluster_are_read() -> None:
    settings, warnings = load_settings({"NOETL_ENV": "cluster"}, ROOT)
    assert (settings.api.auth, warnings) == ("on", [])
