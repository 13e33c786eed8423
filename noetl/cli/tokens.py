"""The tokens that `noetl login` has kept: `login.json` in NOETL_HOME, {URL: token}."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from noetl.cli.problems import fail

FILE: Final = "login.json"


def kept_token(url: str) -> str | None:
    """The token for that server, if one is kept. A file that can't be read ends this process, with the reason."""
    return _read(_file()).get(url)


def keep_token(url: str, token: str) -> None:
    """Write it beside those for other servers: mode 0600 from the first byte, and whole at any time."""
    file = _file()
    tokens = _read(file) | {url: token}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=file.parent, prefix=f"{FILE}.")  # mode 0600
        with os.fdopen(number, "wb") as new:
            new.write(msgspec.json.format(msgspec.json.encode(tokens), indent=2) + b"\n")
        Path(name).replace(file)
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}")


def _file() -> Path:
    from noetl.node.place import home_dir

    return home_dir(os.environ) / FILE


def _read(file: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}")
    except msgspec.MsgspecError as error:
        fail(f"{file} is damaged: {error}. Delete it and log in again")
