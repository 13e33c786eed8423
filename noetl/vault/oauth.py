"""Getting an access token for a credential: which request, and what its answer means (RFC 6749, RFC 7523). Pure: nothing here talks to anybody."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from noetl.errors import ToolError, ToolRefused
from noetl.vault.credential import CredentialRecord
from noetl.vault.jwt import signed

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GOOGLE_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105  an address
_ASSERTION_S: Final = 3_600
OPEN_REPLY_FIELDS: Final = frozenset({"token_type", "expires_in", "expires_at", "scope", "issued_token_type"})
"""Fields of a token endpoint's answer that are no secret."""


class TokenRequest(Struct, frozen=True):
    """A POST of a form. `once`: what it hands over is used up by it, so that the answer's refresh token must be kept."""

    url: str
    form: dict[str, str]
    headers: dict[str, str] = {}
    once: bool = False

    def __repr__(self) -> str:
        return f"<token request to {self.url}>"


class Token(Struct, frozen=True):
    """`lasts_s`: None when the answer does not say; then it is used for as long as the execution lasts."""

    text: str
    lasts_s: float | None = None
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "<token>"


def given_token(record: CredentialRecord) -> str | None:
    """The token that a credential itself holds, when there is nothing to get another one with."""
    data = record.data
    text = data.get("access_token") or data.get("token")
    can_get = record.kind == "oauth2" and data.get("token_url") and (data.get("refresh_token") or data.get("client_secret") or data.get("code"))
    return None if not text or can_get else str(text)


def request_of(record: CredentialRecord, now: dt.datetime, *, scope: str | None = None) -> TokenRequest:
    """How to get a token: with the refresh token, the code of a login, the service account's key, or as the client itself; the first that there is.

    Raises:
        ToolRefused: the credential's kind gives no token, or a field is missing.
    """
    data = record.data
    if record.kind == "gcs" or "service_account" in data:
        account = service_account(data.get("service_account"), f"credential '{record.name}'")
        return assertion_request(account, now, scope=str(scope or data.get("scope") or GOOGLE_SCOPE))
    if record.kind != "oauth2":
        raise ToolRefused(f"credential '{record.name}' of kind '{record.kind}' gives no token: only bearer, oauth2 and gcs do", kind="auth")
    url = _field(record, "token_url")
    if data.get("refresh_token"):
        return _as_client(record, url, {"grant_type": "refresh_token", "refresh_token": str(data["refresh_token"])}, scope, once=True)
    if data.get("code"):
        login = {name: str(data[name]) for name in ("code", "redirect_uri", "code_verifier") if data.get(name)}
        return _as_client(record, url, {"grant_type": "authorization_code", **login}, None, once=True)
    _field(record, "client_secret")
    return _as_client(record, url, {"grant_type": "client_credentials"}, scope)


def _as_client(record: CredentialRecord, url: str, form: dict[str, str], scope: str | None, *, once: bool = False) -> TokenRequest:
    data = record.data
    wanted = {"scope": scope or (None if "code" in form else data.get("scope")), "audience": data.get("audience")}
    form |= {name: _words(value) for name, value in wanted.items() if value}
    client, secret = _field(record, "client_id"), data.get("client_secret")
    if data.get("client_auth") == "basic" and secret:
        login = base64.b64encode(f"{quote(client, safe='')}:{quote(str(secret), safe='')}".encode()).decode()
        return TokenRequest(url, form, {"Authorization": f"Basic {login}"}, once)
    return TokenRequest(url, {**form, "client_id": client, **({"client_secret": str(secret)} if secret else {})}, {}, once)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _field(record: CredentialRecord, name: str) -> str:
    value = record.data.get(name)
    if not value:
        raise ToolRefused(f"credential '{record.name}' of kind '{record.kind}' has no '{name}'", kind="auth")
    return str(value)


class ServiceAccount(Struct, frozen=True):
    email: str
    private_key: str
    key_id: str | None
    token_url: str

    def __repr__(self) -> str:
        return f"<service account {self.email}>"


def service_account(key: Any, whose: str) -> ServiceAccount:
    """A service account's key as Google gives it: a mapping, or its JSON. Raises `ToolRefused` when it is none."""
    if isinstance(key, str):
        try:
            key = json.loads(key)
        except ValueError:
            key = None
    if not isinstance(key, Mapping) or not key.get("client_email") or not key.get("private_key"):
        raise ToolRefused(f"{whose} has no service account: its key is a mapping, or JSON, with client_email and private_key", kind="auth")
    key_id = key.get("private_key_id")
    return ServiceAccount(
        str(key["client_email"]), str(key["private_key"]), None if key_id is None else str(key_id), str(key.get("token_uri") or _GOOGLE_TOKEN_URL)
    )


def assertion_request(account: ServiceAccount, now: dt.datetime, **claims: str) -> TokenRequest:
    """For an access token (`scope`), or for an ID token (`target_audience`)."""
    issued = int(now.timestamp())
    about = {"iss": account.email, "aud": account.token_url, "iat": issued, "exp": issued + _ASSERTION_S}
    assertion = signed({**about, **claims}, account.private_key, account.key_id)
    return TokenRequest(account.token_url, {"grant_type": JWT_BEARER, "assertion": assertion})


def token_of(answer: Any, name: str, field: str = "access_token") -> Token:
    """The token in a successful answer. Raises `ToolError`: kind `auth`: there is none in it."""
    text = answer.get(field) if isinstance(answer, Mapping) else None
    if not isinstance(text, str) or not text:
        raise ToolError(f"'{name}': the token endpoint answered without '{field}'", kind="auth")
    refresh = answer.get("refresh_token")
    return Token(text, lasts_s(answer), refresh if isinstance(refresh, str) and refresh else None)


def lasts_s(answer: Mapping[str, Any]) -> float | None:
    """For how long what it holds may be used, in seconds."""
    try:
        return max(0.0, float(answer["expires_in"]))
    except (KeyError, TypeError, ValueError):
        return None


def refusal(error: ToolError, name: str) -> ToolError:
    """The token endpoint's words for its refusal. What may go better next time stays retryable."""
    if error.retryable:
        return error
    result = error.result if isinstance(error.result, Mapping) else {}
    answer = result.get("data")
    said = [str(answer[key]) for key in ("error", "error_description") if isinstance(answer, Mapping) and answer.get(key)]
    if error.kind not in ("auth", "client_error", "not_found"):
        return error
    return ToolError(f"'{name}': no token: {error.message}{': ' + ': '.join(said) if said else ''}", kind="auth", extra=error.extra)
