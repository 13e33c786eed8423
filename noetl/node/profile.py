"""What runs on a node (`nodes/NAME.yaml`) and how it is set (`config/`, `NOETL_*`). The only reader of files and environment for both."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from noetl.errors import SettingsError
from noetl.machine import cores
from noetl.settings import HttpSettings, Settings
from noetl.tools.outbound import Outbound

Role = Literal["store", "cluster", "tools", "pools", "shard", "shards", "steps", "events", "api"]
"""Branches of a node's tree. cluster: it is a member of one. shard: it owns executions by itself; shards: together with other nodes. steps: it runs
attempts of other nodes' executions. events: it puts committed events on the bus."""

_PLAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "NOETL_CREDENTIALS": ("credentials",),
    "NOETL_PLAYBOOK_PATH": ("playbook_path",),
    "NOETL_ENV_ALLOW": ("env_allow",),
}
_SEPARATORS: Final[Mapping[str, str]] = {
    "NOETL_PLAYBOOK_PATH": os.pathsep,
    **dict.fromkeys(("NOETL_ENV_ALLOW", "NOETL_API_ORIGINS", "NOETL_VAULT_ENV_ALLOW", "NOETL_HTTP_ALLOW", "NOETL_NATS_URLS"), ","),
}
"""Of variables that are lists."""
_PREFIX: Final = "NOETL_"
_OTHER: Final = frozenset({"NOETL_HOME", "NOETL_ENV", "NOETL_URL", "NOETL_TOKEN"})
_SECTIONS: Final = ("values", "python", "store", "artifacts", "engine", "log", "api", "http", "vault", "postgres", "nats", "cluster", "testing")


class PoolProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """`slots`: calls at a time; `cores` for as many as the machine has. `tools`: the kinds it serves, `*` for all."""

    slots: int | Literal["cores"]
    tools: tuple[str, ...]


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of `nodes/`."""

    roles: tuple[Role, ...]
    pools: dict[str, PoolProfile] = {}
    capabilities: dict[str, Any] = {}
    """What a step may require of the node that runs it: cpu, gpu, memory_bytes, region, labels and others."""
    drain_s: float = 10.0
    name: str = ""

    @property
    def is_member(self) -> bool:
        """Whether it is one node of a cluster."""
        return "cluster" in self.roles


def load_profile(name: str, config_dir: Path | None = None) -> Profile:
    """Raises `SettingsError` that names the file and the key."""
    file = _find("nodes", f"{name}.yaml", config_dir)
    if file is None:
        raise SettingsError(f"there is no profile '{name}': nodes/{name}.yaml is neither in the working directory nor in the package")
    profile: Profile = _convert(_read(file), Profile, str(file))
    return msgspec.structs.replace(profile, name=name)


def load_settings(environment: Mapping[str, str], config_dir: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings, merged once; and warnings about variables that nothing reads.

    Raises:
        SettingsError: a file or a variable says something that can't be. The message names it.
    """
    merged: dict[str, Any] = {}
    named = environment.get("NOETL_ENV")
    for name in ("default", *([named] if named else [])):
        file = _find("config", f"{name}.yaml", config_dir)
        if file is not None:
            content = _read(file)
            _convert(content, Settings, str(file))
            merged = _laid_over(merged, content)
        elif name == named:
            raise SettingsError(f"NOETL_ENV is '{named}', but there is no config/{named}.yaml")
    for variable, path in known_variables().items():
        text = environment.get(variable, "").strip()
        if text:
            given = _nested(path, _value(variable, text))
            _convert(given, Settings, f"{variable} is {text!r}")
            merged = _laid_over(merged, given)
    settings: Settings = _convert(merged, Settings, "settings")
    Outbound(settings.http.allow)
    return settings, list(_unknown(environment))


def settings_on(profile: Profile, settings: Settings) -> Settings:
    """The settings of a node with this profile: `solo` may call its own machine."""
    if profile.name != "solo":
        return settings
    return msgspec.structs.replace(settings, http=HttpSettings((*settings.http.allow, "loopback")))


def needed(profile: Profile, settings: Settings) -> None:
    """Raises `SettingsError` that names the settings which a node of this profile needs and which are not given."""
    if not profile.is_member:
        return
    given = {"nats.urls": bool(settings.nats.urls), "postgres.dsn": settings.postgres.dsn is not None}
    missing = [name for name, is_given in given.items() if not is_given]
    if missing:
        what = f"a node of profile {profile.name} is one of a cluster: the settings {' and '.join(missing)} are missing"
        raise SettingsError(f"{what} (NOETL_NATS_URLS, NOETL_POSTGRES_DSN); `noetl node start solo` needs neither")


def slots_of(pool: PoolProfile) -> int:
    return cores() if pool.slots == "cores" else pool.slots


def known_variables() -> dict[str, tuple[str, ...]]:
    """Every `NOETL_*` that sets something: variable -> path in the settings. Fields of sections are `NOETL_SECTION_FIELD`."""
    variables = dict(_PLAIN)
    for section in _SECTIONS:
        struct = next(field.type for field in msgspec.structs.fields(Settings) if field.name == section)
        for field in msgspec.structs.fields(struct):
            variables[f"NOETL_{section}_{field.name}".upper()] = (section, field.name)
    return variables


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = {variable.removeprefix(_PREFIX) for variable in (*known_variables(), *_OTHER)}
    for variable in sorted(environment):
        name = variable.removeprefix(_PREFIX)
        if variable.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{variable} sets nothing" + (f": did you mean {_PREFIX}{near[0]}?" if near else "")


def _value(variable: str, text: str) -> Any:
    """A variable's text as the settings' data: lists are separated as in PATH (NOETL_PLAYBOOK_PATH) or by commas."""
    separator = _SEPARATORS.get(variable)
    return text if separator is None else [part.strip() for part in text.split(separator) if part.strip()]


def _find(folder: str, name: str, config_dir: Path | None) -> Path | None:
    package = Path(__file__).parent.parent
    places = (config_dir, Path.cwd(), package / "data", package.parent)
    for place in places:
        if place is not None and (place / folder / name).is_file() and (place != Path.cwd() or place == package.parent or _is_noetl(place)):
            return place / folder / name
    return None


def _is_noetl(place: Path) -> bool:
    """Somebody else's project may have a `config/default.yaml` too: the working directory counts when it has profiles."""
    return any((place / "nodes").glob("*.yaml"))


def _read(file: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415  where there is no file it is not needed
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        content = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} can't be read: {error}") from error
    except YAMLError as error:
        raise SettingsError(f"{file}: {error}") from error
    if not isinstance(content, dict | None):
        raise SettingsError(f"{file} must be a mapping")
    return content or {}


def _convert(data: Any, type_: type[Any], source: str) -> Any:
    try:
        return msgspec.convert(data, type_, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: {error}") from error


def _laid_over(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        result[key] = _laid_over(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return result


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested
