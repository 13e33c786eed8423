"""Settings and profiles: files, environment, and the page that documents them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from noetl.errors import SettingsError
from noetl.node.profile import PoolProfile, Profile, known_variables, load_profile, load_settings, settings_on, slots_of
from noetl.settings import HttpSettings, Settings, StoreSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "settings.md"


def files(folder: Path, **contents: str) -> Path:
    """`config__dev="..."` writes config/dev.yaml."""
    for name, content in contents.items():
        file = folder / f"{name.replace('__', '/')}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    return folder


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_of_config_is_decoded(file: Path) -> None:
    settings, _ = load_settings({} if file.stem == "default" else {"NOETL_ENV": file.stem})
    assert isinstance(settings, Settings)


def test_the_default_file_says_what_the_code_says() -> None:
    assert load_settings({})[0] == Settings()


@pytest.mark.parametrize("file", sorted((ROOT / "nodes").glob("*.yaml")), ids=lambda file: file.name)
def test_every_profile_is_decoded(file: Path) -> None:
    assert load_profile(file.stem).name == file.stem


def test_the_environment_is_laid_over_its_file_and_that_over_the_default(tmp_path: Path) -> None:
    folder = files(
        tmp_path, config__default="store: {snapshot_every: 5, lock_wait_s: 1}\npython: {timeout_s: 9}", config__dev="store: {lock_wait_s: 2}"
    )
    settings, warnings = load_settings({"NOETL_ENV": "dev", "NOETL_PYTHON_TIMEOUT_S": "7.5"}, folder)
    assert settings.store == StoreSettings(snapshot_every=5, lock_wait_s=2)
    assert settings.python.timeout_s == 7.5
    assert warnings == []


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("NOETL_PLAYBOOK_PATH", "/a:b::", ("playbook_path",), ("/a", "b")),
        ("NOETL_ENV_ALLOW", " REGION , ZONE,", ("env_allow",), ("REGION", "ZONE")),
        ("NOETL_CREDENTIALS", "c.json", ("credentials",), "c.json"),
        ("NOETL_PYTHON_PROCESSES", "3", ("python", "processes"), 3),
        ("NOETL_PYTHON_PROCESSES", "null", ("python", "processes"), None),
        ("NOETL_PYTHON_PROCESSES", "", ("python", "processes"), None),
        ("NOETL_STORE_DURABILITY", "normal", ("store", "durability"), "normal"),
    ],
)
def test_a_variable_sets_its_field(variable: str, text: str, path: tuple[str, ...], value: Any) -> None:
    found: Any = load_settings({variable: text})[0]
    for name in path:
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("NOETL_PYTHON_PROCESSES", "many", "NOETL_PYTHON_PROCESSES is 'many': Expected `int | null`"),
        ("NOETL_PYTHON_PROCESSES", "0", "Expected `int` >= 1"),
        ("NOETL_ENGINE_INBOX_POLL_S", "0", "Expected `float` > 0"),
        ("NOETL_HTTP_ALLOW", "db,10.0.0.0/33", "http.allow: '10.0.0.0/33' is no network"),
        ("NOETL_STORE_DURABILITY", "none", "NOETL_STORE_DURABILITY is 'none': Invalid enum value 'none'"),
        ("NOETL_ENV", "prdo", "NOETL_ENV is 'prdo', but there is no config/prdo.yaml"),
    ],
)
def test_a_value_that_can_not_be_is_refused_with_the_name_of_its_variable(variable: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)):
        load_settings({variable: text})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("store: {snapshot_evry: 1}", r"default.yaml: Object contains unknown field `snapshot_evry` - at `\$.store`"),
        ("store: [", "default.yaml: "),
        ("- a", "default.yaml must be a mapping"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings({}, files(tmp_path, config__default=content))


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ("NOETL_HOEM", "NOETL_HOEM sets nothing: did you mean NOETL_HOME?"),
        ("NOETL_STORE_DURABLITY", "NOETL_STORE_DURABLITY sets nothing: did you mean NOETL_STORE_DURABILITY?"),
        ("NOETL_XYZ", "NOETL_XYZ sets nothing"),
    ],
)
def test_a_variable_that_sets_nothing_is_a_warning_with_the_nearest_name(variable: str, warning: str) -> None:
    assert load_settings({variable: "1", "OTHER": "2"})[1] == [warning]


def test_the_config_of_somebody_elses_project_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files(tmp_path, config__default="port: 8080"))
    assert load_settings({})[0] == Settings()
    (tmp_path / "nodes").mkdir()
    assert load_settings({})[0] == Settings()
    files(tmp_path, nodes__mine="roles: [store]\npools: {}")
    with pytest.raises(SettingsError, match="unknown field `port`"):
        load_settings({})


def test_a_profile_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no profile 'none': nodes/none\.yaml is neither"):
        load_profile("none")
    with pytest.raises(SettingsError, match=r"odd.yaml: Invalid enum value 'kitchen' - at `\$.roles\[0\]`"):
        load_profile("odd", files(tmp_path, nodes__odd="roles: [kitchen]\npools: {}"))


def test_a_node_of_profile_solo_may_call_its_own_machine_and_another_one_may_not() -> None:
    settings = Settings(http=HttpSettings(("10.0.0.0/8",)))
    assert settings_on(load_profile("solo"), settings).http.allow == ("10.0.0.0/8", "loopback")
    assert settings_on(Profile(("store",), {}, name="worker"), settings) == settings


def test_slots_may_be_as_many_as_cores() -> None:
    assert slots_of(PoolProfile("cores", ())) >= 1
    assert slots_of(PoolProfile(3, ())) == 3


def documented() -> dict[str, tuple[str, str]]:
    """Variable -> (place in the files, default), as the page says."""
    rows = re.findall(r"^\| `(NOETL_\w+)` \|([^|]*)\|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    return {variable: (place.strip(" `"), default.strip(" `")) for variable, place, default in rows}


def test_the_page_lists_every_variable_with_its_default() -> None:
    expected: dict[str, tuple[str, str]] = {"NOETL_HOME": ("", ".noetl"), "NOETL_ENV": ("", ""), "NOETL_URL": ("", ""), "NOETL_TOKEN": ("", "")}
    for variable, path in known_variables().items():
        value: Any = Settings()
        for name in path:
            value = getattr(value, name)
        expected[variable] = (".".join(path), value if isinstance(value, str) else json.dumps(value))
    assert documented() == expected


def test_every_setting_can_be_set_by_a_variable() -> None:
    assert {path[0] for path in known_variables().values()} == set(Settings.__struct_fields__)
