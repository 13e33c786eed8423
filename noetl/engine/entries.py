"""What an entry of a playbook's `keychain` holds, by its kind (docs/reference/language.md, section 9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from noetl.dsl.playbook import Keychain
from noetl.engine.credentials import Access, Held, scope_of
from noetl.engine.fetched import Lasting
from noetl.errors import ToolRefused
from noetl.vault.oauth import assertion_request, lasts_s, service_account, token_of

Fields = Mapping[str, Any]

_ID_TOKEN_S: Final = 3_600.0
_ACCOUNT_FIELDS: Final = ("service_account", "service_account_key", "service_account_json", "service_account_info")
_ACCOUNT_NAMES: Final = ("service_account_credential", "service_account_secret", "credential", "auth")


async def open_entry(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    """`fields` are those of the entry, rendered. With `ttl` it lasts no longer than so many seconds; with `auto_renew: false` it is fetched once.

    Raises:
        ToolError: kind `auth`, or what the call of a token endpoint gave. Kind `unsupported`: a provider that is not here.
    """
    opened = await _KINDS.get(entry.kind, _unknown)(entry, fields, access)
    access.learn(entry.kind, opened.value.data)
    if fields.get("auto_renew") is False:
        return Lasting(opened.value)
    return Lasting(opened.value, _shorter(opened.lasts_s, _ttl(entry, fields)))


def _shorter(first: float | None, second: float | None) -> float | None:
    given = [seconds for seconds in (first, second) if seconds is not None]
    return min(given, default=None)


def _ttl(entry: Keychain, fields: Fields) -> float | None:
    try:
        return None if fields.get("ttl") is None else float(fields["ttl"])
    except (TypeError, ValueError):
        raise ToolRefused(f"keychain entry '{entry.name}': 'ttl' must be a number of seconds") from None


async def _credential(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    record = await access.record(str(fields.get("credential") or fields.get("auth") or entry.name))
    return Lasting(Held(record.data, scope_of(record), record.name, record.kind))


async def _static(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    return Lasting(Held(_map(entry, fields)))


async def _bearer(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    """A token as it is written, which may be a template, or that of a credential."""
    if fields.get("token"):
        return Lasting(Held({"token": str(fields["token"])}))
    opened = await access.token(str(fields.get("credential") or fields.get("auth") or entry.name))
    return Lasting(Held({"token": opened.value.data["access_token"]}, opened.value.hosts), opened.lasts_s)


async def _oauth2(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    """The whole answer of a token endpoint; or the token of a credential."""
    url = fields.get("endpoint") or fields.get("url")
    if not url:
        return await access.token(str(fields.get("credential") or fields.get("auth") or entry.name))
    headers = {str(name): value for name, value in (fields.get("headers") or {}).items()}
    is_json = any(name.lower() == "content-type" and "json" in str(value).lower() for name, value in headers.items())
    body = {} if fields.get("data") is None else {"json" if is_json else "form": fields["data"]}
    answer = await access.ask({"url": str(url), "method": str(fields.get("method") or "POST"), "headers": headers, **body}, entry.name)
    token_of(answer, entry.name)
    return Lasting(Held(answer), lasts_s(answer))


async def _google_id_token(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    audience = fields.get("target_audience") or fields.get("audience")
    if not audience:
        raise ToolRefused(f"keychain entry '{entry.name}' needs 'target_audience'", kind="auth")
    key, hosts = await _account_key(entry, fields, access)
    account = service_account(key, f"keychain entry '{entry.name}'")
    access.learn("gcs", {"private_key": account.private_key})
    answer = await access.send(assertion_request(account, access.now(), target_audience=str(audience)), entry.name)
    token = token_of(answer, entry.name, "id_token")
    return Lasting(Held({"id_token": token.text, "token": token.text}, hosts), token.lasts_s or _ID_TOKEN_S)


async def _account_key(entry: Keychain, fields: Fields, access: Access) -> tuple[Any, tuple[tuple[str, ...], ...]]:
    """The service account's key as it is given, or that of a credential."""
    given = next((fields[name] for name in _ACCOUNT_FIELDS if fields.get(name)), None)
    if given is not None:
        return given, ()
    record = await access.record(str(next((fields[name] for name in _ACCOUNT_NAMES if fields.get(name)), entry.name)))
    return record.data.get("service_account", record.data), scope_of(record)


async def _secrets(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    """Fields from where a provider keeps them: `vault`, as `CREDENTIAL/FIELD`, or `env`, as the name of a variable."""
    provider = str(fields.get("provider") or "vault").lower()
    if provider not in ("vault", "noetl", "env"):
        raise ToolRefused(
            f"keychain entry '{entry.name}': the provider '{provider}' is not supported here; 'vault' and 'env' are", kind="unsupported"
        )
    data: dict[str, Any] = {}
    hosts: dict[tuple[str, ...], None] = {}
    for field, place in _map(entry, fields).items():
        if provider == "env":
            data[field] = access.variable(str(place))
        else:
            name, _, key = str(place).rpartition("/")
            record = await access.record(name or key)
            data[field] = _field_of(record.data, key if name else None, f"keychain entry '{entry.name}': {place}")
            hosts |= dict.fromkeys(scope_of(record))
    return Lasting(Held(data, tuple(hosts)))


def _field_of(data: Mapping[str, Any], key: str | None, where: str) -> Any:
    """`key` None: the only field there is."""
    if key is None and len(data) == 1:
        return next(iter(data.values()))
    if key is None or key not in data:
        raise ToolRefused(f"{where} must be CREDENTIAL/FIELD, with a field that the credential has: {', '.join(sorted(data))}", kind="auth")
    return data[key]


def _map(entry: Keychain, fields: Fields) -> dict[str, Any]:
    found = fields.get("map")
    if not isinstance(found, Mapping) or not found:
        raise ToolRefused(f"keychain entry '{entry.name}' of kind '{entry.kind}' needs 'map': a mapping of names to values", kind="auth")
    return {str(name): value for name, value in found.items()}


async def _unknown(entry: Keychain, fields: Fields, access: Access) -> Lasting[Held]:
    raise ToolRefused(
        f"keychain entry '{entry.name}': kind '{entry.kind}' is not supported; these are: {', '.join(sorted(_KINDS))}", kind="unsupported"
    )


_KINDS: Final[Mapping[str, Callable[[Keychain, Fields, Access], Awaitable[Lasting[Held]]]]] = {
    "bearer": _bearer,
    "credential": _credential,
    "google_id_token": _google_id_token,
    "oauth2": _oauth2,
    "postgres_credential": _credential,
    "secret_manager": _secrets,
    "secrets": _secrets,
    "static": _static,
}
