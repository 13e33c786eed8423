"""`auth`, `keychain` and `token()` on a whole node, against a real token endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from noetl.engine.state import State
from noetl.settings import EngineSettings, Settings, VaultSettings
from noetl.vault.credential import Use
from noetl.vault.vaults.sealed import SealedVault
from tests.engine.conftest import Bench, Boot
from tests.engine.playbooks import playbook
from tests.engine.token_endpoint import TokenEndpoint, claims_of, token_endpoint

ALLOWED = Settings(engine=EngineSettings(inbox_poll_s=0.05), vault=VaultSettings(env_allow=("API", "LOGIN", "DSN", "ACCOUNT", "EMPTY", "ODD")))


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    async with token_endpoint() as running:
        yield running


@pytest.fixture(scope="session")
def account_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def account(key: rsa.RSAPrivateKey, endpoint: TokenEndpoint) -> dict[str, str]:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return {"client_email": "robot@example.org", "private_key": pem, "private_key_id": "k1", "token_uri": f"{endpoint.url}/token"}


def vault_of(bench: Bench) -> SealedVault:
    vault = bench.node.parts.sealed
    assert vault is not None
    return vault


def client(endpoint: TokenEndpoint, **more: Any) -> dict[str, Any]:
    return {"token_url": f"{endpoint.url}/token", "client_id": "me", "client_secret": "s3cr3t-of-me"} | more


async def run(bench: Bench, endpoint: TokenEndpoint, workflow: str, keychain: str = "[]", **payload: Any) -> State:
    head = f"keychain: {keychain}\nworkload: {{base: '{endpoint.url}', api: api}}"
    return await bench.run(playbook(workflow, head), payload)


def fetch(**fields: Any) -> str:
    """A step that calls the echoing service."""
    return f"- {{step: start, tool: {json.dumps({'kind': 'http', 'url': '{{ workload.base }}/echo'} | fields)}}}"


def failed(state: State) -> tuple[str, str]:
    assert state.error is not None, state.results
    return state.error["kind"], state.error["message"]


# -- `auth` ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data", "header", "value"),
    [
        ("bearer", {"token": "t-123456"}, "authorization", "Bearer t-123456"),
        ("basic", {"username": "joe", "password": "hunter22"}, "authorization", "Basic am9lOmh1bnRlcjIy"),
        ("api_key", {"header": "X-Shop-Key", "value": "v-123456"}, "x-shop-key", "v-123456"),
        ("oauth2", {"access_token": "t-123456"}, "authorization", "Bearer t-123456"),
    ],
)
@pytest.mark.parametrize("auth", ["{{ workload.api }}", {"type": None, "key": "api"}, {"source": "credential", "key": "{{ workload.api }}"}])
async def test_auth_names_a_credential_of_the_vault_as_text_or_as_an_entry(
    boot: Boot, endpoint: TokenEndpoint, kind: str, data: dict[str, Any], header: str, value: str, auth: Any
) -> None:
    bench = await boot()
    await vault_of(bench).put("api", kind, data)
    state = await run(bench, endpoint, fetch(auth=auth))
    assert state.status == "completed"
    assert endpoint.echoed[0]["headers"][header] == value


@pytest.mark.parametrize(
    ("auth", "text", "header"),
    [
        ({"source": "env", "type": "bearer", "key": "API"}, "t-123456", "Bearer t-123456"),
        ({"source": "env", "type": "bearer", "key": "API"}, '{"token": "t-123456"}', "Bearer t-123456"),
        ({"provider": "env", "type": "basic", "key": "LOGIN"}, "joe:hunter22", "Basic am9lOmh1bnRlcjIy"),
    ],
)
async def test_auth_may_come_from_a_variable_that_the_operator_allows(boot: Boot, endpoint: TokenEndpoint, auth: Any, text: str, header: str) -> None:
    bench = await boot(settings=ALLOWED, environment={auth["key"]: text})
    state = await run(bench, endpoint, fetch(auth=auth))
    assert state.status == "completed", state.error
    assert endpoint.authorizations == [header]
    assert bench.node.parts.secrets.scrub(f"see {text.rsplit(':', maxsplit=1)[-1]}") != f"see {text.rsplit(':', maxsplit=1)[-1]}", (
        "it is known as a secret"
    )


@pytest.mark.parametrize(
    ("auth", "kind", "says"),
    [
        (
            {"source": "env", "type": "bearer", "key": "HOME"},
            "auth",
            "the variable HOME may not be read: NOETL_VAULT_ENV_ALLOW (vault.env_allow) must name it",
        ),
        ({"source": "env", "type": "bearer", "key": "EMPTY"}, "auth", "the variable EMPTY is not set on this node"),
        ({"source": "env", "type": "snowflake", "key": "ODD"}, "auth", "must hold the fields of a credential of kind 'snowflake' as a JSON object"),
        ({"source": "env", "type": "bearer"}, "config", "needs 'key': the name of a variable"),
        ({"source": "env", "key": "API"}, "config", "needs 'type': the kind of the credential"),
        ({"type": "bearer", "provider": "aws", "key": "x"}, "unsupported", "credentials from 'aws' are not supported here"),
        ({"source": "secret_manager", "key": "x"}, "unsupported", "credentials from 'secret_manager' are not supported here"),
        ("none", "auth", "there is no credential 'none'"),
    ],
)
async def test_an_auth_that_can_not_be_is_refused_in_words(boot: Boot, endpoint: TokenEndpoint, auth: Any, kind: str, says: str) -> None:
    bench = await boot(settings=ALLOWED, environment={"HOME": "/root", "ODD": "hunter22", "API": "t-123456"})
    state = await run(bench, endpoint, fetch(auth=auth))
    assert failed(state)[0] == kind
    assert says in failed(state)[1]
    assert "hunter22" not in failed(state)[1]
    assert endpoint.echoed == []


async def test_no_playbook_can_read_the_variable_that_holds_the_master_key(boot: Boot, endpoint: TokenEndpoint) -> None:
    settings = Settings(env_allow=("MASTER",), vault=VaultSettings(key_env="MASTER", env_allow=("MASTER",)))
    bench = await boot(settings=settings, environment={"MASTER": "00" * 32})
    state = await run(bench, endpoint, fetch(params={"x": "{{ env.MASTER }}"}))
    assert (state.status, state.env, state.results["start"]["url"]) == ("completed", {}, f"{endpoint.url}/echo")
    state = await run(bench, endpoint, fetch(auth={"source": "env", "type": "bearer", "key": "MASTER"}))
    assert "the variable MASTER may not be read" in failed(state)[1]


async def test_a_postgres_login_may_come_from_a_variable(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot(settings=ALLOWED, environment={"DSN": "postgresql://joe:hunter22@127.0.0.1:1/db"})
    auth = {"source": "env", "type": "postgres", "key": "DSN"}
    state = await run(bench, endpoint, f"- {{step: start, tool: {json.dumps({'kind': 'postgres', 'auth': auth, 'command': 'select 1'})}}}")
    assert failed(state)[0] == "connection"
    assert "127.0.0.1:1/db" in failed(state)[1]


@pytest.mark.parametrize("kind", ["hmac", "s3", "gcs"])
async def test_a_key_for_files_is_taken_with_its_kind_and_scope(boot: Boot, endpoint: TokenEndpoint, kind: str) -> None:
    """DuckDB says which secrets it has, without their values."""
    bench = await boot()
    data = {"key_id": "GOOG1", "secret_key": "s3cr3t-key"} if kind != "s3" else {"access_key_id": "AKIA1", "secret_access_key": "s3cr3t-key"}
    await vault_of(bench).put("files", kind, data)
    auth = {"lake": {"source": "credential", "type": kind, "key": "files", "scope": "gs://lake" if kind == "gcs" else "s3://lake"}}
    tool = {"kind": "duckdb", "auth": auth, "query": "select name, scope, contains(secret_string, 's3cr3t') as shown from duckdb_secrets()"}
    state = await run(bench, endpoint, f"- {{step: start, tool: {json.dumps(tool)}}}")
    if state.error is not None:  # it was taken; only what reads such files is not installed
        assert "DuckDB's extension 'httpfs' can't be loaded" in failed(state)[1]
    else:
        (row,) = state.results["start"]
        assert (row["name"], row["shown"]) == ("lake", False)


# -- tokens ------------------------------------------------------------------------------------------------------------

TOKEN = {"headers": {"Authorization": "Bearer {{ token(workload.api) }}"}}


@pytest.mark.parametrize("use", [TOKEN, {"auth": "api"}], ids=["token()", "auth"])
async def test_a_client_gets_a_token_with_its_own_secret(boot: Boot, endpoint: TokenEndpoint, use: Any) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "oauth2", client(endpoint, scope="orders.read", audience="shop"))
    state = await run(bench, endpoint, fetch(**use))
    assert state.status == "completed", state.error
    assert endpoint.authorizations == ["Bearer t0ken-number-1"]
    expected = {"grant_type": "client_credentials", "scope": "orders.read", "audience": "shop", "client_id": "me", "client_secret": "s3cr3t-of-me"}
    assert endpoint.asked == [expected]
    assert "Idempotency-Key" not in endpoint.heads[0], "a second request must not get the answer of the first"


async def test_a_client_may_show_its_secret_in_a_header(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "oauth2", client(endpoint, client_auth="basic"))
    await run(bench, endpoint, fetch(**TOKEN))
    assert endpoint.heads[0]["Authorization"] == "Basic bWU6czNjcjN0LW9mLW1l"
    assert endpoint.asked == [{"grant_type": "client_credentials"}]


async def test_a_bearer_credential_is_its_own_token(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "bearer", {"token": "t-123456"})
    await run(bench, endpoint, fetch(**TOKEN))
    assert endpoint.authorizations == ["Bearer t-123456"]


async def test_a_refresh_token_that_was_exchanged_is_kept_for_the_next_time(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    endpoint.answer |= {"refresh_token": True}
    await vault_of(bench).put("api", "oauth2", client(endpoint, refresh_token="refresh-number-0"), domains=["tmp"], description="the shop's")
    for _ in range(2):
        assert (await run(bench, endpoint, fetch(**TOKEN))).status == "completed"
    assert [asked["refresh_token"] for asked in endpoint.asked] == ["refresh-number-0", "refresh-number-1"]
    info = await vault_of(bench).info("api")
    assert info is not None
    assert (info.version, info.domains, info.description, info.updated_by) == (3, ("tmp",), "the shop's", "its use")


async def test_the_code_of_a_login_is_exchanged_once_and_leaves_a_refresh_token(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    endpoint.answer |= {"refresh_token": True}
    await vault_of(bench).put("api", "oauth2", client(endpoint, code="c0de-123", redirect_uri="http://localhost/back", code_verifier="v3rifier"))
    for _ in range(2):
        assert (await run(bench, endpoint, fetch(**TOKEN))).status == "completed"
    first, second = endpoint.asked
    assert (first["grant_type"], first["code"], first["redirect_uri"], first["code_verifier"]) == (
        "authorization_code",
        "c0de-123",
        "http://localhost/back",
        "v3rifier",
    )
    assert (second["grant_type"], second["refresh_token"]) == ("refresh_token", "refresh-number-1")
    record = await vault_of(bench).open("api", Use(1, "look", "test"))
    assert record is not None
    assert set(record.data) == {"token_url", "client_id", "client_secret", "redirect_uri", "refresh_token"}


@pytest.mark.parametrize("use", [TOKEN, {"auth": "api"}], ids=["token()", "auth"])
async def test_a_service_account_signs_for_its_token(boot: Boot, endpoint: TokenEndpoint, account_key: rsa.RSAPrivateKey, use: Any) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "gcs", {"service_account": json.dumps(account(account_key, endpoint))})
    state = await run(bench, endpoint, fetch(**use))
    assert state.status == "completed", state.error
    assert endpoint.authorizations == ["Bearer t0ken-number-1"]
    (asked,) = endpoint.asked
    assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = claims_of(asked["assertion"])
    assert (claims["iss"], claims["aud"], claims["scope"]) == (
        "robot@example.org",
        f"{endpoint.url}/token",
        "https://www.googleapis.com/auth/cloud-platform",
    )
    assert claims["exp"] - claims["iat"] == 3600
    text, _, signature = asked["assertion"].rpartition(".")
    import base64

    account_key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), text.encode(), padding.PKCS1v15(), hashes.SHA256())


async def test_all_steps_of_an_execution_share_one_token_and_another_execution_gets_its_own(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "oauth2", client(endpoint))
    tool = json.dumps({"kind": "http", "url": "{{ workload.base }}/echo"} | TOKEN)
    two = f"- {{step: start, tool: {tool}, next: again}}\n- {{step: again, tool: {tool}}}"
    for _ in range(2):
        assert (await run(bench, endpoint, two)).status == "completed"
    assert endpoint.authorizations == ["Bearer t0ken-number-1"] * 2 + ["Bearer t0ken-number-2"] * 2


async def test_steps_that_want_one_token_at_the_same_time_wait_for_one_request(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    endpoint.wait = asyncio.Event()
    await vault_of(bench).put("api", "oauth2", client(endpoint))
    loop = {"in": list(range(8)), "iterator": "n", "spec": {"mode": "parallel", "max_in_flight": 8}}
    tool = {"kind": "http", "url": "{{ workload.base }}/echo"} | TOKEN
    running = asyncio.create_task(run(bench, endpoint, f"- {{step: start, loop: {json.dumps(loop)}, tool: {json.dumps(tool)}}}"))
    await endpoint.came.wait()
    endpoint.wait.set()
    assert (await running).status == "completed"
    assert endpoint.authorizations == ["Bearer t0ken-number-1"] * 8
    assert len(endpoint.asked) == 1


async def test_a_token_that_has_expired_is_renewed(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    endpoint.answer["expires_in"] = 0
    await vault_of(bench).put("api", "oauth2", client(endpoint))
    tool = json.dumps({"kind": "http", "url": "{{ workload.base }}/echo"} | TOKEN)
    await run(bench, endpoint, f"- {{step: start, tool: {tool}, next: again}}\n- {{step: again, tool: {tool}}}")
    assert endpoint.authorizations == ["Bearer t0ken-number-1", "Bearer t0ken-number-2"]


@pytest.mark.parametrize(
    ("prepare", "kind", "says"),
    [
        ({"status": 401}, "auth", "'api': no token: POST "),
        ({"status": 400}, "auth", "invalid_client: who are you?"),
        ({"status": 503}, "server_error", ""),
        ({"field": "other"}, "auth", "'api': the token endpoint answered without 'access_token'"),
    ],
)
async def test_a_token_endpoint_that_gives_none_is_an_error_without_secrets(
    boot: Boot, endpoint: TokenEndpoint, prepare: dict[str, Any], kind: str, says: str
) -> None:
    bench = await boot()
    for name, value in prepare.items():
        setattr(endpoint, name, value)
    await vault_of(bench).put("api", "oauth2", client(endpoint))
    state = await run(bench, endpoint, fetch(**TOKEN))
    assert failed(state)[0] == kind
    assert says in failed(state)[1]
    assert "s3cr3t-of-me" not in json.dumps(state.error)
    assert state.error is not None
    assert state.error["retryable"] is (kind == "server_error")


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        ("postgres", {"dsn": "x"}, "credential 'api' of kind 'postgres' gives no token: only bearer, oauth2 and gcs do"),
        ("oauth2", {"client_id": "me"}, "credential 'api' of kind 'oauth2' has no 'token_url'"),
        ("oauth2", {"token_url": "http://127.0.0.1:1/", "client_id": "me"}, "has no 'client_secret'"),
        (
            "gcs",
            {"service_account": "{"},
            "credential 'api' has no service account: its key is a mapping, or JSON, with client_email and private_key",
        ),
        ("gcs", {"service_account": {"client_email": "x", "private_key": "hunter22"}}, "the service account's private_key is no RSA key in PEM"),
    ],
)
async def test_a_credential_that_can_give_no_token_says_why(boot: Boot, endpoint: TokenEndpoint, kind: str, data: dict[str, Any], says: str) -> None:
    bench = await boot()
    await vault_of(bench).put("api", kind, data)
    state = await run(bench, endpoint, fetch(**TOKEN))
    assert failed(state)[0] == "auth"
    assert says in failed(state)[1]


@pytest.mark.parametrize("use", [TOKEN, {"auth": "api"}, {"json": "{{ keychain.api.token }}", "method": "POST"}], ids=["token()", "auth", "keychain"])
async def test_a_credential_for_some_hosts_is_sent_to_no_other(boot: Boot, endpoint: TokenEndpoint, use: Any) -> None:
    bench = await boot()
    entries = "[{name: api, kind: credential}]" if "json" in use else "[]"
    await vault_of(bench).put("api", "bearer", {"token": "t-123456"}, hosts=["api.example", "*.shop.example"])
    state = await run(bench, endpoint, fetch(**use), entries)
    assert failed(state)[0] == "refused"
    assert "a credential of this call is for api.example, *.shop.example only, and 127.0.0.1 is none of them" in failed(state)[1]
    assert endpoint.echoed == []
    await vault_of(bench).put("api", "bearer", {"token": "t-123456"}, hosts=["127.0.0.1"])
    assert (await run(bench, endpoint, fetch(**use), entries)).status == "completed"


async def test_a_token_endpoint_inside_is_not_called(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "oauth2", client(endpoint) | {"token_url": "http://10.0.0.1/token"})
    state = await run(bench, endpoint, fetch(**TOKEN))
    assert failed(state)[0] == "refused"
    assert "POST http://10.0.0.1/token: 10.0.0.1 is a private address" in failed(state)[1]


async def test_an_unknown_token_is_an_error_of_kind_auth(boot: Boot, endpoint: TokenEndpoint) -> None:
    assert failed(await run(await boot(), endpoint, fetch(**TOKEN))) == (
        "auth",
        "there is no credential 'api': add it to the vault, or to the file that NOETL_CREDENTIALS names",
    )


async def test_token_needs_a_name(boot: Boot, endpoint: TokenEndpoint) -> None:
    state = await run(await boot(), endpoint, fetch(headers={"Authorization": "{{ token(workload.nothing) }}"}))
    assert failed(state)[0] == "template"
    assert "headers.Authorization: token() needs the name of a credential" in failed(state)[1]


# -- `keychain` --------------------------------------------------------------------------------------------------------


async def read(bench: Bench, endpoint: TokenEndpoint, entries: list[dict[str, Any]], expression: str, **payload: Any) -> Any:
    """What an expression over the keychain gives, as the echoing service was sent it."""
    state = await run(bench, endpoint, fetch(method="POST", json={"seen": "{{ " + expression + " }}"}), json.dumps(entries), **payload)
    assert state.status == "completed", state.error
    return json.loads(endpoint.echoed[-1]["body"])["seen"]


async def test_an_entry_may_be_a_credential(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("pg_shop", "postgres", {"host": "db", "user": "joe", "password": "hunter22", "database": "shop"})
    entries = [
        {"name": "pg_shop", "kind": "postgres_credential"},
        {"name": "other", "kind": "credential", "credential": "{{ workload.pg }}"},
    ]
    shown = await read(bench, endpoint, entries, "[keychain.pg_shop.password, keychain['other'].user, keychain.other.get('none', 1)]", pg="pg_shop")
    assert shown == ["hunter22", "joe", 1]


async def test_an_entry_may_be_static_or_a_bearer_and_read_another_one(boot: Boot, endpoint: TokenEndpoint) -> None:
    entries = [
        {"name": "own", "kind": "static", "map": {"key": "{{ workload.key }}", "n": 7}},
        {"name": "api", "kind": "bearer", "token": "{{ keychain.own.key }}-{{ env.REGION }}"},
    ]
    bench = await boot(environment={"REGION": "eu"})
    assert await read(bench, endpoint, entries, "[keychain.api.token, keychain.own.n, token('api'), keychain.api]", key="s3cr3t") == [
        "s3cr3t-eu",
        7,
        "s3cr3t-eu",
        {"token": "s3cr3t-eu"},
    ]


async def test_secrets_may_be_picked_from_the_vault_and_from_the_environment(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot(settings=ALLOWED, environment={"API": "from-env"})
    await vault_of(bench).put("shop", "basic", {"username": "joe", "password": "hunter22"})
    await vault_of(bench).put("one", "bearer", {"token": "only-one"})
    entries = [
        {"name": "a", "kind": "secrets", "provider": "vault", "map": {"password": "shop/password", "token": "one"}},
        {"name": "b", "kind": "secret_manager", "provider": "env", "map": {"key": "API"}},
    ]
    assert await read(bench, endpoint, entries, "[keychain.a.password, keychain.a.token, keychain.b.key]") == ["hunter22", "only-one", "from-env"]


async def test_an_oauth2_entry_is_the_answer_of_its_endpoint(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    endpoint.answer |= {"instance": "https://shop.example"}
    entry = {
        "name": "shop",
        "kind": "oauth2",
        "endpoint": "{{ workload.base }}/token",
        "headers": {"X-Caller": "noetl"},
        "data": {"grant_type": "password", "password": "{{ workload.password }}"},
        "scope": "global",
        "auto_renew": True,
    }
    assert await read(bench, endpoint, [entry], "[keychain.shop.access_token, keychain.shop.instance]", password="hunter22") == [
        "t0ken-number-1",
        "https://shop.example",
    ]
    assert endpoint.asked == [{"grant_type": "password", "password": "hunter22"}]
    assert endpoint.heads[0]["X-Caller"] == "noetl"


async def test_an_oauth2_entry_may_send_json(boot: Boot, endpoint: TokenEndpoint) -> None:
    entry = {
        "name": "shop",
        "kind": "oauth2",
        "endpoint": f"{endpoint.url}/token",
        "headers": {"content-type": "application/json"},
        "data": {"a": [1]},
    }
    assert await read(await boot(), endpoint, [entry], "token('shop')") == "t0ken-number-1"
    assert endpoint.asked == [{"a": [1]}]


async def test_a_google_id_token_is_for_its_audience(boot: Boot, endpoint: TokenEndpoint, account_key: rsa.RSAPrivateKey) -> None:
    bench = await boot()
    endpoint.field = "id_token"
    await vault_of(bench).put("robot", "gcs", {"service_account": account(account_key, endpoint)})
    entries = [
        {"name": "run", "kind": "google_id_token", "target_audience": "https://run.example", "service_account_credential": "robot"},
        {"name": "own", "kind": "google_id_token", "target_audience": "https://own.example", "service_account": account(account_key, endpoint)},
    ]
    assert await read(bench, endpoint, entries, "[keychain.run.id_token, token('own')]") == ["t0ken-number-1", "t0ken-number-2"]
    assert [claims_of(asked["assertion"])["target_audience"] for asked in endpoint.asked] == ["https://run.example", "https://own.example"]


@pytest.mark.parametrize(("more", "requests"), [({}, 2), ({"auto_renew": False}, 1), ({"ttl": 0}, 2)])
async def test_an_entry_is_renewed_when_it_has_expired_unless_it_says_otherwise(
    boot: Boot, endpoint: TokenEndpoint, more: dict[str, Any], requests: int
) -> None:
    endpoint.answer["expires_in"] = 3600 if "ttl" in more else 0
    entries = [{"name": "shop", "kind": "oauth2", "endpoint": f"{endpoint.url}/token"} | more]
    tool = json.dumps({"kind": "http", "url": "{{ workload.base }}/echo", "headers": {"X": "{{ keychain.shop.access_token }}"}})
    state = await run(await boot(), endpoint, f"- {{step: start, tool: {tool}, next: b}}\n- {{step: b, tool: {tool}}}", json.dumps(entries))
    assert state.status == "completed"
    assert len(endpoint.asked) == requests


async def test_an_entry_that_nobody_reads_is_not_fetched(boot: Boot, endpoint: TokenEndpoint) -> None:
    entries = [{"name": "shop", "kind": "oauth2", "endpoint": f"{endpoint.url}/token"}, {"name": "none", "kind": "credential"}]
    assert await read(await boot(), endpoint, [*entries, {"name": "x", "kind": "static", "map": {"y": 1}}], "keychain.x.y") == 1
    assert endpoint.asked == []


async def test_auth_may_name_an_entry_of_the_keychain(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("login", "basic", {"username": "joe", "password": "hunter22"})
    await vault_of(bench).put("client", "oauth2", client(endpoint))
    entries = [
        {"name": "shop", "kind": "oauth2", "endpoint": f"{endpoint.url}/token"},
        {"name": "login", "kind": "credential"},
        {"name": "by_client", "kind": "credential", "credential": "client"},
    ]
    for name in ("shop", "login", "by_client"):
        assert (await run(bench, endpoint, fetch(auth=name), json.dumps(entries))).status == "completed"
    assert endpoint.authorizations == ["Bearer t0ken-number-1", "Basic am9lOmh1bnRlcjIy", "Bearer t0ken-number-2"]


@pytest.mark.parametrize(
    ("entry", "expression", "kind", "says"),
    [
        ({"name": "a", "kind": "credential", "credential": "none"}, "keychain.a.x", "auth", "there is no credential 'none'"),
        (
            {"name": "a", "kind": "static", "map": {"y": 1}},
            "keychain.b.x",
            "auth",
            "keychain.b: the playbook declares no such entry under 'keychain'",
        ),
        ({"name": "a", "kind": "static", "map": {"y": 1}}, "keychain.a.x", "template", "keychain.a has no field 'x': it has y"),
        ({"name": "a", "kind": "static"}, "keychain.a.x", "auth", "keychain entry 'a' of kind 'static' needs 'map'"),
        ({"name": "a", "kind": "static", "map": {"y": "{{ 1 + none }}"}}, "keychain.a.y", "template", "keychain.a.map.y: "),
        (
            {"name": "a", "kind": "secrets", "provider": "google", "map": {"y": "x"}},
            "keychain.a.y",
            "unsupported",
            "the provider 'google' is not supported",
        ),
        ({"name": "a", "kind": "secrets", "provider": "env", "map": {"y": "HOME"}}, "keychain.a.y", "auth", "the variable HOME may not be read"),
        ({"name": "a", "kind": "secrets", "map": {"y": "two"}}, "keychain.a.y", "auth", "two must be CREDENTIAL/FIELD"),
        ({"name": "a", "kind": "secrets", "map": {"y": "two/z"}}, "keychain.a.y", "auth", "with a field that the credential has: password, username"),
        ({"name": "a", "kind": "vendor"}, "keychain.a.y", "unsupported", "keychain entry 'a': kind 'vendor' is not supported"),
        ({"name": "a", "kind": "google_id_token"}, "keychain.a.y", "auth", "keychain entry 'a' needs 'target_audience'"),
        ({"name": "a", "kind": "static", "ttl": "long", "map": {"y": 1}}, "keychain.a.y", "config", "'ttl' must be a number of seconds"),
        ({"name": "a", "kind": "static", "map": {"y": "{{ keychain.a.y }}"}}, "keychain.a.y", "config", "in a circle: a -> a"),
        ({"name": "a", "kind": "static", "map": {"y": 1}}, "token('a')", "auth", "'a' has no token"),
    ],
)
async def test_an_entry_that_can_not_be_had_says_why(
    boot: Boot, endpoint: TokenEndpoint, entry: dict[str, Any], expression: str, kind: str, says: str
) -> None:
    bench = await boot()
    await vault_of(bench).put("two", "basic", {"username": "joe", "password": "hunter22"})
    state = await run(bench, endpoint, fetch(params={"x": "{{ " + expression + " }}"}), json.dumps([entry]))
    assert failed(state)[0] == kind
    assert says in failed(state)[1]
    assert "hunter22" not in failed(state)[1]
    assert endpoint.echoed == []


@pytest.mark.parametrize("secret", ["keychain.api.token", "token('api')", "keychain['api']", "keychain"])
async def test_what_is_no_field_of_a_task_can_not_read_a_secret(boot: Boot, endpoint: TokenEndpoint, secret: str) -> None:
    entries = '[{name: api, kind: bearer, token: "t-123456"}]'
    state = await run(await boot(), endpoint, f'- {{step: start, tool: {{kind: noop}}, set: {{ctx.x: "{{{{ {secret} }}}}"}}}}', entries)
    assert failed(state)[0] == "template"
    assert "can be read in the fields and args of a task only" in failed(state)[1]


async def test_code_gets_a_secret_as_an_argument_and_not_through_its_context(boot: Boot, endpoint: TokenEndpoint) -> None:
    code = "def main(key, context, token=None, keychain=None): return [len(key), 'keychain' in context, token, keychain]"
    tool = {"kind": "python", "args": {"key": "{{ keychain.api.token }}"}, "code": code}
    entries = '[{name: api, kind: bearer, token: "t-123456"}]'
    state = await run(await boot(), endpoint, f"- {{step: start, tool: {json.dumps(tool)}}}", entries)
    assert state.status == "completed", state.error
    assert state.results["start"] == [8, False, None, None]


async def test_after_a_restart_tokens_are_fetched_again(boot: Boot, endpoint: TokenEndpoint) -> None:
    """Nothing of a token is kept on disk: another process asks for its own."""
    first, second = await boot(), await boot()
    await vault_of(first).put("api", "oauth2", client(endpoint))
    for bench in (first, second):
        assert (await run(bench, endpoint, fetch(**TOKEN))).status == "completed"
    assert endpoint.authorizations == ["Bearer t0ken-number-1", "Bearer t0ken-number-2"]


async def test_what_an_execution_has_fetched_is_let_go_when_it_ends(boot: Boot, endpoint: TokenEndpoint) -> None:
    bench = await boot()
    await vault_of(bench).put("api", "oauth2", client(endpoint))
    await run(bench, endpoint, fetch(**TOKEN))
    assert bench.node.parts.resources is not None
    fetched = await bench.node.parts.resources.get("fetched", None)  # type: ignore[arg-type]  # it is there
    while fetched._kept:
        await asyncio.sleep(0)
