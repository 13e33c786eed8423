"""`noetl vault`: the master key of the local store's vault."""

from __future__ import annotations

import os

import click

from noetl.cli.stores import find_store, open_store, or_fail, store_option


@click.group()
def vault() -> None:
    """The master key that seals credentials."""


@vault.command("rotate-key")
@store_option
def rotate_key(store: str | None) -> None:
    """Seal with a new master key from now on.

    Every credential's own key is wrapped by it; what runs goes on, and older keys still open what they have sealed. When it was interrupted, call it
    again. Where settings say who keeps the key, put the new one before the old one there first.
    """
    click.echo(or_fail(lambda: _rotated(store)))


async def _rotated(store: str | None) -> str:
    from noetl.clock import SystemClock
    from noetl.node.profile import load_settings
    from noetl.vault.keyring import FileKeys, open_keys
    from noetl.vault.vaults.sealed import SealedVault

    directory, _ = find_store(store)
    keys = await open_keys(load_settings(os.environ)[0].vault, directory, os.environ)
    async with open_store(store) as opened:
        if isinstance(keys, FileKeys):
            keys.rotate()
        wrapped, unreadable = await SealedVault(opened.credentials, keys, SystemClock()).rewrap()
    return "\n".join([_done(keys.current().id, wrapped), *_left(keys, unreadable)])


def _done(key_id: str, wrapped: int) -> str:
    return f"key {key_id} seals from now on; {wrapped} version{'' if wrapped == 1 else 's'} of credentials wrapped anew"


def _left(keys: object, unreadable: tuple[str, ...]) -> list[str]:
    from noetl.vault.keyring import FileKeys

    older = [f"older keys stay in {keys.directory}: sealed values in the logs need them"] if isinstance(keys, FileKeys) else []
    return older + [f"not wrapped anew, since the key of it is not here: {name}" for name in unreadable]
