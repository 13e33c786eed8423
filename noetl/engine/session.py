"""The secrets of one call. Templates render at once and can't wait: what they read that is not there yet is fetched, and they are rendered again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from noetl.dsl.lookup import settle
from noetl.dsl.playbook import Keychain
from noetl.dsl.sandbox import Function
from noetl.dsl.template import Renderable, compile_raw
from noetl.engine.cache import Hold
from noetl.engine.credentials import Access, Held, scope_of
from noetl.engine.entries import open_entry
from noetl.engine.fetched import Fetched, Lasting
from noetl.engine.keychain import SECRET_NAMES, OpenKeychain, Unresolved
from noetl.engine.order import Order
from noetl.errors import TemplateError, ToolError, ToolRefused
from noetl.tools.tool import Credential
from noetl.vault.credential import CredentialRecord

_ABOUT: Final = frozenset({"source", "key", "tool", "type", "service", "scope", "provider", "oauth_credential", "credential"})
"""Fields of an entry of `auth` that say which credential, and not what is in it."""
_TOKEN_FIELDS: Final = ("access_token", "token", "id_token")


class Session:
    def __init__(self, order: Order, hold: Hold, access: Access, fetched: Fetched) -> None:
        self._execution_id = order.call.execution_id
        self._tool = order.program.task.kind
        self._hold = hold
        self._access = access
        self._fetched = fetched
        self._entries = {entry.name: entry for entry in order.keychain}
        self._read: dict[tuple[str, str], Any] = {}
        """What was fetched for this call: an entry's data, a token's text."""
        self._above: tuple[tuple[str, str], ...] = ()
        """What is being fetched, the outermost first."""
        self._hosts: dict[tuple[str, ...], None] = {}
        self._shared = order.shared

    def opened(self, order: Order) -> Order:
        """The order with names by which its templates read secrets."""
        return msgspec.structs.replace(order, names={**order.names, **self._names()}) if order.names.keys() & SECRET_NAMES else order

    def _names(self) -> dict[str, Any]:
        return {"keychain": OpenKeychain(self._entries, self._entry_now, self._hold.load), "token": Function("token", self._token_now)}

    @property
    def hosts(self) -> tuple[tuple[str, ...], ...]:
        """For each secret of the call that is for some hosts only: which."""
        return tuple(self._hosts)

    async def run(self, render: Callable[[], Any]) -> Any:
        """Call `render` until it lacks nothing. Raises `ToolError` when a secret can't be had."""
        while True:
            try:
                return await self._hold.run(render)
            except Unresolved as missing:
                await self._resolve((missing.what, missing.name))

    async def credentials(self, auth: Any) -> dict[str, Credential]:
        """Alias -> credential for a rendered `auth`: a name, one entry, or a mapping of aliases to names or entries. The only one has the alias ''.

        Raises:
            ToolError: kind `auth`: no such credential, or it gives no token. Kind `unsupported`: a source that is not here.
        """
        if auth is None or auth == "":
            return {}
        if isinstance(auth, str):
            return {"": await self._named(auth)}
        if not isinstance(auth, Mapping):
            raise ToolRefused(f"'auth' must be the name of a credential or a mapping, not {type(auth).__name__}")
        if _ABOUT & set(auth) and not all(isinstance(value, Mapping) for value in auth.values()):
            return {"": await self._entry(auth)}
        return {str(alias): await (self._named(entry) if isinstance(entry, str) else self._entry(entry)) for alias, entry in auth.items()}

    # -- what templates read -------------------------------------------------------------------------------------------

    def _entry_now(self, name: str) -> Mapping[str, Any]:
        return self._now("keychain", name)  # type: ignore[no-any-return]  # entries are mappings

    def _token_now(self, name: Any = None, *_: Any) -> str:
        if not isinstance(name, str) or not name:
            raise TemplateError("token() needs the name of a credential, or of an entry of the keychain")
        return self._now("token", name)  # type: ignore[no-any-return]  # tokens are texts

    def _now(self, what: Any, name: str) -> Any:
        if (what, name) not in self._read:
            raise Unresolved(what, name)
        return self._read[what, name]

    async def _resolve(self, place: tuple[str, str]) -> None:
        what, name = place
        self._read[place] = (await self._entry_of(name)).data if what == "keychain" else await self._token(name)

    async def _token(self, name: str) -> str:
        held = await (self._entry_of(name) if name in self._entries else self._get(("token", name), lambda: self._access.token(name)))
        return _token_in(held, name)

    async def _entry_of(self, name: str) -> Held:
        entry = self._entries.get(name)
        if entry is None:
            raise ToolError(f"keychain.{name}: the playbook declares no such entry under 'keychain'", kind="auth")
        return await self._get(("keychain", name), lambda: self._opened(entry))

    async def _opened(self, entry: Keychain) -> Lasting[Held]:
        fields, names = compile_raw(entry.fields), {**self._shared, **self._names()}
        rendered = await self.run(lambda: _rendered(fields, names, self._hold, entry.name))
        return await open_entry(entry, await self._hold.plain(settle(rendered)), self._access)

    async def _get(self, place: tuple[str, str], fetch: Callable[[], Any]) -> Held:
        """Once per execution, and again when it has expired."""
        if place in self._above:
            circle = " -> ".join(name for _, name in (*self._above[self._above.index(place) :], place))
            raise ToolRefused(f"keychain entries read each other in a circle: {circle}")
        is_inner = bool(self._above)
        self._above = (*self._above, place)
        try:
            held: Held = await self._fetched.get(self._execution_id, " ".join(place), fetch, alone=is_inner)
        finally:
            self._above = self._above[:-1]
        self._hosts |= dict.fromkeys(held.hosts)
        return held

    # -- what `auth` names ---------------------------------------------------------------------------------------------

    async def _named(self, name: str, kind: str | None = None) -> Credential:
        """An entry of the keychain, else a credential of the vault."""
        if name not in self._entries:
            return await self._for_tool(await self._access.record(name), kind)
        held = await self._entry_of(name)
        if held.credential:
            return await self._for_tool(CredentialRecord(held.credential, held.kind, held.data), kind)
        if kind is None and any(held.data.get(field) for field in _TOKEN_FIELDS):
            return Credential(name, "bearer", {"token": _token_in(held, name)})
        return Credential(name, kind or "", held.data)

    async def _entry(self, entry: Mapping[str, Any]) -> Credential:
        """One structured entry: which credential, as which kind, for which scope; or the fields themselves."""
        kind = entry.get("type") or entry.get("tool") or entry.get("service")
        key = entry.get("key") or entry.get("credential")
        source = str(entry.get("provider") or entry.get("source") or "credential")
        if source not in ("credential", "vault", "noetl", "env"):
            raise ToolRefused(f"credentials from '{source}' are not supported here: 'credential' and 'env' are", kind="unsupported")
        if source == "env":
            credential = await self._for_tool(self._access.from_variable(_required("key", key), _required("type", kind)))
        elif key is None:
            credential = await self._for_tool(self._written(str(kind or ""), entry))
        else:
            credential = await self._named(str(key), None if kind is None else str(kind))
        if "scope" in entry and credential.kind not in ("oauth2", "bearer"):
            return Credential(credential.name, credential.kind, {**credential.data, "scope": entry["scope"]})
        return credential

    def _written(self, kind: str, entry: Mapping[str, Any]) -> CredentialRecord:
        data = {name: value for name, value in entry.items() if name not in _ABOUT}
        self._access.learn(kind, data)
        return CredentialRecord("", kind, data)

    async def _for_tool(self, record: CredentialRecord, kind: str | None = None) -> Credential:
        """As a tool takes it: with a token, where its kind stands for one."""
        self._hosts |= dict.fromkeys(scope_of(record))
        if record.kind == "oauth2" or (record.kind == "gcs" and self._tool == "http"):
            held = await self._token_of(record)
            return Credential(record.name, "oauth2", {**record.data, "access_token": _token_in(held, record.name)})
        return Credential(record.name, kind or record.kind, record.data)

    async def _token_of(self, record: CredentialRecord) -> Held:
        """That of a credential which is not the vault's lasts for one call: nothing tells it from others."""
        if not record.name:
            return (await self._access.token_by(record)).value
        return await self._get(("token", record.name), lambda: self._access.token(record.name))


def _token_in(held: Held, name: str) -> str:
    text = next((held.data[field] for field in _TOKEN_FIELDS if held.data.get(field)), None)
    if text is None:
        raise ToolError(f"'{name}' has no token", kind="auth")
    return str(text)


def _required(name: str, value: Any) -> str:
    if not value:
        meaning = {"key": "the name of a variable", "type": "the kind of the credential"}[name]
        raise ToolRefused(f"'auth' with 'source: env' needs '{name}': {meaning}")
    return str(value)


def _rendered(fields: Renderable, names: Mapping[str, Any], hold: Hold, entry: str) -> Any:
    try:
        return fields.render(names, hold.load)
    except TemplateError as error:
        error.within(f"keychain.{entry}")
        raise
