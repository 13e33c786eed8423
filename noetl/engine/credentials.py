"""Opening credentials for calls, and getting tokens with them. What is opened is known as a secret from then on."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from msgspec import Struct

from noetl.engine.fetched import Lasting
from noetl.errors import CredentialUnreadable, NotAllowed, ToolError, ToolRefused
from noetl.store.patience import patiently
from noetl.tools.tool import ToolContext, find
from noetl.vault.credential import CredentialRecord, Use, Vault, secrets_of
from noetl.vault.oauth import OPEN_REPLY_FIELDS, Token, TokenRequest, given_token, refusal, request_of, token_of
from noetl.vault.secrets import Secrets


class Held(Struct, frozen=True):
    """What a call may read. `hosts`, for each secret in it that is for some hosts only: which. `credential` and `kind`: whose data it is."""

    data: dict[str, Any]
    hosts: tuple[tuple[str, ...], ...] = ()
    credential: str = ""
    kind: str = ""

    def __repr__(self) -> str:
        return "<secrets>"


def scope_of(record: CredentialRecord) -> tuple[tuple[str, ...], ...]:
    """As `Held.hosts`."""
    return (record.hosts,) if record.hosts else ()


class Credentials:
    """Of one node. `environment` are the variables that `source: env` may read."""

    def __init__(self, vault: Vault, secrets: Secrets, environment: Mapping[str, str], env_allow: Iterable[str]) -> None:
        self.vault = vault
        self.secrets = secrets
        self._env_allow = frozenset(env_allow)
        self._environment = environment
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, name: str) -> asyncio.Lock:
        """One at a time gets a token for a credential: what it changes in it, such as the refresh token, the next one must see."""
        found = self._locks.get(name)
        if found is None:
            found = self._locks[name] = asyncio.Lock()
        return found

    def variable(self, name: str) -> str:
        """Raises `ToolError`: kind `auth`: it may not be read, or is not set."""
        if name not in self._env_allow:
            raise ToolError(f"the variable {name} may not be read: NOETL_VAULT_ENV_ALLOW (vault.env_allow) must name it", kind="auth")
        text = self._environment.get(name)
        if not text:
            raise ToolError(f"the variable {name} is not set on this node", kind="auth")
        return text

    def learn(self, kind: str, data: Mapping[str, Any]) -> None:
        secret = {name: value for name, value in data.items() if name not in OPEN_REPLY_FIELDS}
        self.secrets.learn(secrets_of(CredentialRecord("", kind, secret)))


class Access:
    """The credentials, for one call."""

    def __init__(self, credentials: Credentials, use: Use, ctx: ToolContext) -> None:
        self._credentials = credentials
        self._use = use
        self._ctx = ctx

    async def record(self, name: str) -> CredentialRecord:
        """Raises `ToolError`: kind `auth`: there is none, it is not for this playbook, or it can't be opened."""
        try:
            record = await patiently(lambda: self._credentials.vault.open(name, self._use))
        except (NotAllowed, CredentialUnreadable) as error:
            raise ToolError(str(error), kind="auth") from error
        if record is None:
            raise ToolError(f"there is no credential '{name}': add it to the vault, or to the file that NOETL_CREDENTIALS names", kind="auth")
        self.learn(record.kind, record.data)
        return record

    def from_variable(self, variable: str, kind: str) -> CredentialRecord:
        """A credential whose data is the text of an environment variable: JSON, or what its kind can be made of. Raises `ToolError`."""
        data = _data_of(self._credentials.variable(variable), kind, variable)
        self.learn(kind, data)
        return CredentialRecord("", kind, data)

    def variable(self, name: str) -> str:
        return self._credentials.variable(name)

    def now(self) -> dt.datetime:
        return self._ctx.clock.now()

    def learn(self, kind: str, data: Mapping[str, Any]) -> None:
        """From now on nobody can read what is secret of it."""
        self._credentials.learn(kind, data)

    async def token(self, name: str) -> Lasting[Held]:
        """An access token by a credential of the vault. Raises `ToolError`."""
        async with self._credentials.lock(name):
            return await self.token_by(await self.record(name))

    async def token_by(self, record: CredentialRecord) -> Lasting[Held]:
        """An access token by an opened credential. Raises `ToolError`."""
        text = given_token(record)
        if text is not None:
            return Lasting(Held({"access_token": text}, scope_of(record)))
        request = request_of(record, self.now())
        token = token_of(await self.send(request, record.name), record.name)
        await self._keep_refresh_token(record, request, token)
        return Lasting(Held({"access_token": token.text}, scope_of(record)), token.lasts_s)

    async def send(self, request: TokenRequest, name: str) -> dict[str, Any]:
        """What a token endpoint answers. Raises `ToolError`."""
        return await self.ask({"url": request.url, "method": "POST", "form": request.form, "headers": request.headers}, name)

    async def ask(self, call: Mapping[str, Any], name: str) -> dict[str, Any]:
        """What an HTTP call answers, as a mapping; all of it is secret. Raises `ToolError`."""
        find("http")  # says so when its driver is not installed
        from noetl.tools import http  # noqa: PLC0415  that driver is slow to import

        try:
            answer = await http.ask(http.Input(**call, follow_redirects=False), self._ctx)
        except ToolError as error:
            raise refusal(error, name) from None
        if not isinstance(answer, dict):
            raise ToolError(f"'{name}': the token endpoint did not answer with a JSON object", kind="auth")
        self.learn("", answer)
        return answer

    async def _keep_refresh_token(self, record: CredentialRecord, request: TokenRequest, token: Token) -> None:
        """Before the token is used: a refresh token that was exchanged, or the code of a login, is worth nothing any more."""
        if request.once and token.refresh_token not in (None, record.data.get("refresh_token")):
            changes = {"refresh_token": token.refresh_token, "code": None, "code_verifier": None}
            await patiently(lambda: self._credentials.vault.renew(record, changes))


_AS_TEXT: Final[Mapping[str, str]] = {"bearer": "token", "api_key": "value", "postgres": "dsn", "gcs": "service_account"}
"""Kind -> the field that a plain text is."""


def _data_of(text: str, kind: str, variable: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            data = json.loads(text)
        except ValueError:
            raise ToolRefused(f"the variable {variable} begins like JSON and is none", kind="auth") from None
        is_account = kind == "gcs" and "private_key" in data
        return {"service_account": data} if is_account else dict(data)
    if kind in _AS_TEXT:
        return {_AS_TEXT[kind]: text}
    user, colon, password = text.partition(":")
    if kind == "basic" and colon:
        return {"username": user, "password": password}
    raise ToolRefused(f"the variable {variable} must hold the fields of a credential of kind '{kind}' as a JSON object", kind="auth")
