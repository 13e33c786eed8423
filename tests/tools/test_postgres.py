"""The postgres tool against a real server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import asyncpg
import pytest

from noetl.errors import ToolError, ToolRefused
from noetl.settings import Settings, ValueLimits
from noetl.tools import postgres as tool
from noetl.tools import postgres_pool
from noetl.tools.tool import Credential
from noetl.values import encode, handle_of
from tests.postgres import Postgres
from tests.tools.conftest import MakeContext

Run = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def credential(postgres: Postgres) -> Credential:
    return Credential("pg_local", "postgres", postgres.credential())


@pytest.fixture
def run(make_context: MakeContext, credential: Credential) -> Run:
    """`await run("SELECT 1", params=[…])`: a call of the tool with the credential of the test server."""

    async def call(command: Any = None, *, context: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        ctx = make_context(**{"credentials": {"": credential}, **(context or {})})
        result = await tool.run(tool.Input(command=command, **fields), ctx)
        encode(result)  # every result must be a value
        return result

    return call


@pytest.fixture
async def table(postgres: Postgres, credential: Credential) -> AsyncIterator[str]:
    """An empty table `things`, dropped after the test."""
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("""
        DROP TABLE IF EXISTS things;
        CREATE TABLE things (id int PRIMARY KEY, name text DEFAULT 'nameless', size numeric, tags text[], extra jsonb, raw bytea, made timestamptz)
    """)
    yield "things"
    await connection.execute("DROP TABLE IF EXISTS things")
    await connection.close()


# Statements and results


async def test_a_query_gives_rows_columns_and_their_number(run: Run) -> None:
    rows = [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]
    command = {"status": "success", "rows": rows, "row_count": 2, "columns": ["n", "t"]}
    assert await run("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, t)") == {**command, "command_0": command}


async def test_commands_are_numbered_over_all_statements_of_all_texts(run: Run, table: str) -> None:
    result = await run(["CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2);", "SELECT a FROM t; -- the end\n", "UPDATE t SET a = 5"])
    assert [result[f"command_{index}"]["row_count"] for index in range(4)] == [-1, 2, 2, 2]
    assert "command_4" not in result
    assert result["command_0"] == {"status": "success", "rows": [], "row_count": -1, "columns": []}


async def test_the_rows_at_the_top_are_those_of_the_last_statement_that_returned_rows_and_the_count_is_the_last_ones(run: Run, table: str) -> None:
    result = await run("SELECT 1 AS a; SELECT 2 AS b; INSERT INTO things (id) SELECT generate_series(1, 3)")
    assert (result["rows"], result["columns"], result["row_count"]) == ([{"b": 2}], ["b"], 3)


async def test_a_query_without_rows_still_has_its_columns(run: Run) -> None:
    result = await run("SELECT 1 AS a WHERE false")
    assert (result["rows"], result["columns"], result["row_count"]) == ([], ["a"], 0)


async def test_returning_gives_rows(run: Run, table: str) -> None:
    assert (await run("INSERT INTO things (id) SELECT generate_series(1, 6000) RETURNING id"))["row_count"] == 6000


async def test_a_list_of_texts_and_quotes_that_hold_semicolons_work(run: Run) -> None:
    assert (await run("SELECT 'a;b' AS x; SELECT $$c;d$$ AS y"))["rows"] == [{"y": "c;d"}]


async def test_a_text_without_sql_is_refused(run: Run) -> None:
    nothing: tuple[Any, ...] = (None, "", " \n", [], "-- nothing")
    for command in nothing:
        with pytest.raises(ToolRefused, match="no SQL"):
            await run(command)


async def test_sql_may_come_from_a_script_whose_text_is_rendered(run: Run, tmp_path: Any) -> None:
    (tmp_path / "total.sql").write_text("SELECT {{ n }} AS n")

    async def render(text: str) -> str:
        return text.replace("{{ n }}", "7")

    context = {"base_dirs": (tmp_path,), "render": render}
    assert (await run(script={"uri": "total.sql", "source": {"type": "file"}}, context=context))["rows"] == [{"n": 7}]


# Transactions


async def test_all_statements_of_a_task_are_one_transaction(run: Run, table: str) -> None:
    with pytest.raises(ToolError, match="statement 2 of 2"):
        await run(["INSERT INTO things (id) VALUES (1)", "SELECT 1 / 0"])
    assert (await run("SELECT count(*) AS n FROM things"))["rows"] == [{"n": 0}]


async def test_a_transaction_that_fails_is_rolled_back_without_noise(run: Run) -> None:
    reports: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    with pytest.raises(ToolError):
        await run("SELECT 1 / 0")
    assert reports == []


async def test_a_text_that_controls_transactions_is_left_to_itself(run: Run, table: str) -> None:
    with pytest.raises(ToolError, match="division by zero"):
        await run("BEGIN; INSERT INTO things (id) VALUES (1); COMMIT; INSERT INTO things (id) VALUES (2); SELECT 1 / 0")
    assert (await run("SELECT id FROM things ORDER BY id"))["rows"] == [{"id": 1}, {"id": 2}]


async def test_a_transaction_that_the_text_leaves_open_is_rolled_back_and_reported(run: Run, table: str) -> None:
    with pytest.raises(ToolRefused, match="add COMMIT"):
        await run("BEGIN; INSERT INTO things (id) VALUES (1)")
    assert (await run("SELECT count(*) AS n FROM things"))["rows"] == [{"n": 0}]


@pytest.mark.parametrize(
    "text",
    [
        "VACUUM things",
        "CREATE INDEX CONCURRENTLY ON things (name); SELECT 1",
        "REINDEX TABLE CONCURRENTLY things",
        "CREATE DATABASE made_by_task; DROP DATABASE made_by_task",
        "DO $$ BEGIN INSERT INTO things (id) VALUES (1); COMMIT; END $$",
        "BEGIN; PREPARE TRANSACTION 'noetl-test'; ROLLBACK PREPARED 'noetl-test'",
    ],
)
async def test_a_statement_that_forbids_a_transaction_runs_outside_of_one(run: Run, table: str, text: str) -> None:
    await run(text)


async def test_a_savepoint_works_inside_the_tasks_own_transaction(run: Run, table: str) -> None:
    await run("INSERT INTO things (id) VALUES (1); SAVEPOINT s; INSERT INTO things (id) VALUES (2); ROLLBACK TO SAVEPOINT s; RELEASE s")
    assert (await run("SELECT id FROM things"))["rows"] == [{"id": 1}]


async def test_a_constraint_that_is_checked_at_the_commit_fails_the_task(run: Run) -> None:
    with pytest.raises(ToolError, match="the commit failed") as caught:
        await run("CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1)")
    assert caught.value.extra["sqlstate"] == "23505"


async def test_nothing_of_a_session_is_left_for_the_next_task(run: Run) -> None:
    for _ in range(2):  # the second finds the same connection: the pool has one
        await run(
            "BEGIN; SET statement_timeout = 12345; CREATE TEMP TABLE only_mine (a int); PREPARE mine AS SELECT 1; SELECT pg_advisory_lock(5); COMMIT",
            pool={"max_size": 1},
        )
    assert (await run("SHOW statement_timeout", pool={"max_size": 1}))["rows"] == [{"statement_timeout": "0"}]


@pytest.mark.parametrize("text", ["COPY things FROM STDIN", "COPY (SELECT 1) TO STDOUT WITH CSV"])
async def test_copy_with_the_client_is_refused_before_anything_runs(run: Run, table: str, text: str) -> None:
    with pytest.raises(ToolRefused, match="COPY to or from the client"):
        await run(f"INSERT INTO things (id) VALUES (1); {text}")
    assert (await run("SELECT count(*) AS n FROM things"))["rows"] == [{"n": 0}]


# Types


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("5::numeric", 5),
        ("5::numeric(10, 0)", 5),
        ("1.50::numeric", 1.5),
        ("10000::numeric", 10_000),
        ("'1e30'::numeric", 1e30),
        ("2::bigint", 2),
        ("1.5::float4", 1.5),
        ("true", True),
        ("NULL::int", None),
        ("'x'::char(3)", "x  "),
        ("'x'::\"char\"", "x"),
        ("ARRAY['x'::\"char\", NULL]", ["x", None]),
        ("""'{"a": [1, null]}'::json""", {"a": [1, None]}),
        ("""'"text"'::jsonb""", "text"),
        ("""ARRAY['{"a": 1}'::jsonb]""", [{"a": 1}]),
        ("'2024-02-29'::date", "2024-02-29"),
        ("'2024-02-29 10:00'::timestamp", "2024-02-29T10:00:00"),
        ("'2024-02-29 10:00+02'::timestamptz", "2024-02-29T08:00:00+00:00"),
        ("'10:30'::time", "10:30:00"),
        ("'1 mon 2 days'::interval", "1 mon 2 days"),
        ("'8a3503e7-686f-400d-84f0-6bca0478c976'::uuid", "8a3503e7-686f-400d-84f0-6bca0478c976"),
        ("ARRAY[[1, 2], [3, NULL]]", [[1, 2], [3, None]]),
        ("'\\x00ff'::bytea", base64.b64encode(b"\x00\xff").decode()),
        ("'[1,5)'::int4range", "[1,5)"),
        ("'(,2024-01-01]'::daterange", "(,2024-01-02)"),
        ("'empty'::int4range", "empty"),
        ("'{[1,3),[5,7)}'::int4multirange", ["[1,3)", "[5,7)"]),
        ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
        ("B'101'", "101"),
        ("point(1, 2)", [1.0, 2.0]),
        ("'a & b'::tsquery", "'a' & 'b'"),
    ],
)
async def test_values_of_every_type_become_plain_ones(run: Run, expression: str, value: Any) -> None:
    assert (await run(f"SELECT {expression} AS v"))["rows"] == [{"v": value}]


async def test_a_composite_value_is_a_mapping(run: Run, table: str) -> None:
    await run("""INSERT INTO things (id, size, extra) VALUES (1, 1.5, '[1]')""")
    [row] = (await run("SELECT t AS v FROM things AS t"))["rows"]
    assert row == {"v": {"id": 1, "name": "nameless", "size": 1.5, "tags": None, "extra": [1], "raw": None, "made": None}}


async def test_a_date_that_python_can_not_hold_is_an_error_that_says_what_to_do(run: Run) -> None:
    with pytest.raises(ToolError, match="cast it to text") as caught:
        await run("SELECT '4000-01-01 BC'::date")
    assert caught.value.kind == "database"
    assert (await run("SELECT '4000-01-01 BC'::date::text AS d"))["rows"] == [{"d": "4000-01-01 BC"}]


# Parameters


async def test_a_list_of_params_gives_the_values_of_numbered_placeholders(run: Run) -> None:
    assert (await run("SELECT $2::int AS b, $1::text AS a, '$1' AS c", params=["x", 7]))["rows"] == [{"b": 7, "a": "x", "c": "$1"}]


async def test_a_mapping_of_params_gives_the_values_of_named_placeholders(run: Run) -> None:
    text = "SELECT :n::int AS n, ':n' AS quoted, (ARRAY[1,2,3])[1:2] AS slice; SELECT :t AS t"
    result = await run(text, params={"n": 3, "t": "it's"})
    assert result["command_0"]["rows"] == [{"n": 3, "quoted": ":n", "slice": [1, 2]}]
    assert result["rows"] == [{"t": "it's"}]


@pytest.mark.parametrize(
    ("type_", "value", "back"),
    [
        ("int", "5", 5),
        ("int", 5.0, 5),
        ("text", 5, "5"),
        ("text", {"a": 1}, '{"a": 1}'),
        ("numeric", "1.5", 1.5),
        ("numeric", 0.1, 0.1),
        ("float8", 2, 2.0),
        ("bool", "yes", True),
        ("bool", 0, False),
        ("date", "2024-01-31", "2024-01-31"),
        ("timestamptz", "2024-01-31T10:00:00Z", "2024-01-31T10:00:00+00:00"),
        ("timestamp", "2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00"),
        ("time", "10:00", "10:00:00"),
        ("interval", "2 hours", "02:00:00"),
        ("uuid", "8a3503e7-686f-400d-84f0-6bca0478c976", "8a3503e7-686f-400d-84f0-6bca0478c976"),
        ("inet", "10.0.0.1", "10.0.0.1"),
        ('"char"', "x", "x"),
        ("jsonb", {"a": [1]}, {"a": [1]}),
        ("jsonb", '{"a": 1}', {"a": 1}),
        ("jsonb", "plain text", "plain text"),
        ("bytea", "AP8=", "AP8="),
        ("int[]", [1, "2", None], [1, 2, None]),
        ("int[]", [[1], [2]], [[1], [2]]),
        ("date[]", ["2024-01-31"], ["2024-01-31"]),
        ("text", None, None),
    ],
)
async def test_plain_params_take_the_type_of_their_place(run: Run, type_: str, value: Any, back: Any) -> None:
    assert (await run(f"SELECT $1::{type_} AS v", params=[value]))["rows"] == [{"v": back}]


@pytest.mark.parametrize(
    ("type_", "value"), [("int", "abc"), ("int", 1.5), ("date", "tomorrow"), ("int", {"a": 1}), ("bytea", "?"), ("uuid", 5), ("int", 2**40)]
)
async def test_a_param_of_the_wrong_kind_is_refused_without_showing_it(run: Run, type_: str, value: Any) -> None:
    with pytest.raises(ToolRefused, match="params") as caught:
        await run(f"SELECT $1::{type_}", params=[value])
    assert str(value) not in caught.value.message


@pytest.mark.parametrize(
    ("text", "params", "message"),
    [
        ("SELECT $1::int", None, "takes 1 values"),
        ("SELECT $2::int", [1], r"asks for \$2"),
        ("SELECT :a::int, :b::int", {"a": 1}, "no 'b'"),
        ("SELECT $1::int", {"a": 1}, ":name needs a mapping"),
    ],
)
async def test_params_that_do_not_fit_the_text_are_refused(run: Run, text: str, params: Any, message: str) -> None:
    with pytest.raises(ToolRefused, match=message):
        await run(text, params=params)


# Errors


async def test_an_error_of_the_server_has_its_code_and_is_not_retryable(run: Run) -> None:
    with pytest.raises(ToolError, match='relation "nowhere" does not exist') as caught:
        await run("SELECT * FROM nowhere")
    assert (caught.value.kind, caught.value.retryable) == ("database", False)
    assert caught.value.extra == {"code": "42P01", "sqlstate": "42P01"}


@pytest.mark.parametrize(
    ("state", "retryable"), [("08006", True), ("40001", True), ("40P01", True), ("53100", True), ("57014", True), ("23505", False), ("22012", False)]
)
async def test_some_classes_of_errors_are_worth_a_retry(run: Run, state: str, *, retryable: bool) -> None:
    with pytest.raises(ToolError) as caught:
        await run(f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}', HINT = 'try again'; END $$")
    assert (caught.value.kind, caught.value.retryable, caught.value.extra["code"]) == ("database", retryable, state)
    assert "made up try again" in caught.value.message


async def test_a_server_that_is_not_there_is_a_connection_error(run: Run, postgres: Postgres) -> None:
    closed = Credential("pg", "postgres", {**postgres.credential(), "port": 1})
    with pytest.raises(ToolError, match=r"can't connect to 127\.0\.0\.1:1/postgres") as caught:
        await run("SELECT 1", context={"credentials": {"": closed}})
    assert (caught.value.kind, caught.value.retryable) == ("connection", True)


async def test_a_wrong_password_is_an_auth_error_that_does_not_show_it(run: Run, postgres: Postgres) -> None:
    wrong = Credential("pg", "postgres", {**postgres.credential(), "password": "open-sesame"})
    with pytest.raises(ToolError) as caught:
        await run("SELECT 1", context={"credentials": {"": wrong}})
    assert (caught.value.kind, caught.value.retryable, caught.value.extra["sqlstate"]) == ("auth", False, "28P01")
    assert "open-sesame" not in caught.value.message


async def test_a_password_that_the_credential_lacks_is_not_looked_for_elsewhere(
    run: Run, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.credential()["password"])
    for data in ({**postgres.credential(), "password": ""}, {"dsn": f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"}):
        with pytest.raises(ToolError) as caught:
            await run("SELECT 1", context={"credentials": {"": Credential("pg", "postgres", data)}})
        assert caught.value.kind == "auth"


async def test_a_database_that_does_not_exist_is_a_database_error(run: Run, postgres: Postgres) -> None:
    with pytest.raises(ToolError, match="does not exist") as caught:
        await run("SELECT 1", context={"credentials": {"": Credential("pg", "postgres", postgres.credential("nowhere"))}})
    assert (caught.value.kind, caught.value.extra["code"]) == ("database", "3D000")


# Credentials


async def test_a_task_without_a_credential_is_refused(run: Run, credential: Credential) -> None:
    for credentials in ({}, {"a": credential, "b": credential}):
        with pytest.raises(ToolRefused, match="needs 'auth'") as caught:
            await run("SELECT 1", context={"credentials": credentials})
        assert caught.value.kind == "config"


@pytest.mark.parametrize(
    "spell",
    [
        lambda c: {f"db_{key}" if key != "database" else "db_name": value for key, value in c.items()},
        lambda c: {**c, "port": str(c["port"])},
        lambda c: {**c, "sslmode": "prefer"},
        lambda c: {"dsn": "postgresql://{user}:{password}@{host}:{port}/{database}".format(**c)},
        lambda c: {
            "dsn": "postgres://{host}/{database}?sslmode=disable".format(**c),
            "user": c["user"],
            "password": c["password"],
            "port": c["port"],
        },
    ],
)
async def test_the_fields_of_a_credential_have_synonyms(run: Run, postgres: Postgres, spell: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    spelled = Credential("pg", "postgres", spell(postgres.credential()))
    assert (await run("SELECT current_user AS u", context={"credentials": {"": spelled}}))["rows"] == [{"u": "postgres"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "has no host, user, database"),
        ({"host": "h", "user": "u", "database": "d", "port": "x"}, "port is not a number"),
        ({"dsn": "mysql://u:pw-in-dsn@h/d"}, "dsn must look like"),
        ({"dsn": "host=h password=pw-in-dsn"}, "dsn must look like"),
        ({"dsn": "postgresql://u:pw-in-dsn@h:port/d"}, "dsn must look like"),
        ({"host": "h", "user": "u", "database": "d", "sslmode": "maybe"}, "sslmode"),
    ],
)
async def test_a_credential_that_can_not_be_used_says_why(run: Run, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolRefused, match=message) as caught:
        await run("SELECT 1", context={"credentials": {"": Credential("pg", "postgres", data)}})
    assert "pw-in-dsn" not in caught.value.message


# The pool


async def test_calls_share_the_connections_of_a_pool_and_wait_for_one(run: Run) -> None:
    results = await asyncio.gather(*(run("SELECT pg_backend_pid() AS pid, pg_sleep(0.01)", pool={"max_size": 2}) for _ in range(8)))
    assert len({result["rows"][0]["pid"] for result in results}) <= 2


async def test_a_connection_is_opened_when_it_is_needed_and_closed_when_it_is_idle(
    make_context: MakeContext, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pool, "IDLE_S", 0.01)
    login = Credential("pg", "postgres", postgres.credential("template1"))  # nobody else uses that database
    pool = await postgres_pool.open_pool(make_context().resources, login)
    assert await connected(postgres, "template1") == 0
    async with pool.session("SELECT"):
        assert await connected(postgres, "template1") == 1
    while await connected(postgres, "template1"):
        pass


async def connected(postgres: Postgres, database: str) -> int:
    connection = await asyncpg.connect(postgres.dsn())
    count = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", database)
    await connection.close()
    return int(count)


async def test_a_bound_of_the_pool_that_is_no_number_is_refused(run: Run) -> None:
    with pytest.raises(ToolRefused, match="max_size"):
        await run("SELECT 1", pool={"max_size": 0})


@pytest.mark.parametrize("how", ["restart", "kill9"])
async def test_a_connection_that_died_in_the_pool_is_replaced(run: Run, postgres: Postgres, how: str) -> None:
    await asyncio.gather(*(run("SELECT pg_sleep(0.01)") for _ in range(3)))
    getattr(postgres, how)()  # blocks the loop, so that nobody sees the connections die
    postgres.start()
    assert (await run("SELECT 1 AS a"))["rows"] == [{"a": 1}]


async def test_a_connection_that_dies_under_a_statement_is_an_error_and_not_run_again(run: Run, table: str) -> None:
    with pytest.raises(ToolError) as caught:
        await run(["BEGIN; INSERT INTO things (id) VALUES (1); COMMIT", "SELECT pg_terminate_backend(pg_backend_pid())"])
    assert (caught.value.kind, caught.value.retryable) == ("connection", True)
    assert (await run("SELECT id FROM things"))["rows"] == [{"id": 1}]


# Cancellation


async def running(postgres: Postgres, marker: str) -> list[str]:
    """The states of the backends whose last query holds the marker."""
    connection = await asyncpg.connect(postgres.dsn())
    records = await connection.fetch("SELECT state FROM pg_stat_activity WHERE query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()", marker)
    await connection.close()
    return [record["state"] for record in records]


@pytest.mark.parametrize(
    "text", ["SELECT pg_sleep(60) /* {} */", "BEGIN; SELECT pg_sleep(60) /* {} */; COMMIT", "DO $$ BEGIN PERFORM pg_sleep(60) /* {} */; END $$"]
)
async def test_a_cancelled_call_has_stopped_its_query_on_the_server(run: Run, postgres: Postgres, text: str) -> None:
    marker = f"marker-{abs(hash(text))}"
    call = asyncio.ensure_future(run(text.format(marker)))
    while "active" not in await running(postgres, marker):
        assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert "active" not in await running(postgres, marker)
    assert (await run("SELECT 1 AS a"))["rows"] == [{"a": 1}]


class Overtaken:
    """A proxy in which a request to cancel overtakes its query: what a client sends from the second time it names `marker` waits for that."""

    def __init__(self, postgres: Postgres, marker: str) -> None:
        self._postgres = postgres
        self._marker = marker.encode()
        self._seen = 0
        self._connections: list[asyncio.Task[Any]] = []
        self._overtaken = asyncio.Event()
        self.held = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = not self._connections
        self._connections.append(cast("asyncio.Task[Any]", asyncio.current_task()))
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._postgres.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forward(reader, back_writer, hold=first))
            group.create_task(self._forward(back_reader, writer, hold=False))
        if not first:
            self._overtaken.set()  # the request has been handled

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hold: bool) -> None:
        while data := await reader.read(65_536):
            self._seen += data.count(self._marker)
            if hold and self._seen >= 2:
                self.held.set()
                await self._overtaken.wait()
            writer.write(data)
        writer.close()

    async def close(self) -> None:
        """When the clients have closed their ends."""
        await asyncio.gather(*self._connections)


async def test_a_request_to_cancel_that_overtakes_its_query_is_repeated(run: Run, postgres: Postgres, make_context: MakeContext) -> None:
    proxy = Overtaken(postgres, "overtaken-query")
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        login = Credential("pg", "postgres", {**postgres.credential(), "port": server.sockets[0].getsockname()[1]})
        own: dict[str, Any] = {"context": {"credentials": {"": login}}, "pool": {"max_size": 1}}
        [before] = (await run("SELECT pg_backend_pid()", **own))["rows"]
        call = asyncio.ensure_future(run("DO $$ BEGIN PERFORM pg_sleep(60) /* overtaken-query */; END $$", **own))
        await proxy.held.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert "active" not in await running(postgres, "overtaken-query")
        assert (await run("SELECT pg_backend_pid()", **own))["rows"] == [before]  # its connection was not given up
        await make_context().resources.close()
        await proxy.close()


async def test_a_call_that_is_cancelled_while_it_waits_for_a_connection_takes_none(run: Run) -> None:
    slow = asyncio.ensure_future(run("SELECT pg_sleep(0.2)", pool={"max_size": 1}))
    waiting = asyncio.ensure_future(run("SELECT 2", pool={"max_size": 1}))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await slow
    assert (await run("SELECT 3 AS a", pool={"max_size": 1}))["rows"] == [{"a": 3}]


# Large results


async def test_a_result_beyond_the_limit_fails_before_it_is_whole(run: Run) -> None:
    small = Settings(values=ValueLimits(result_max_bytes=100_000))
    with pytest.raises(ToolError, match="more than 100,000 bytes") as caught:
        await run("SELECT generate_series(1, 1000000000) AS i, repeat('x', 100) AS t", context={"settings": small})
    assert caught.value.kind == "limit"


# Table writes


async def test_a_row_is_inserted_with_bound_values(run: Run, table: str) -> None:
    row = {"id": 1, "name": "Robert'); DROP TABLE things; --", "size": 1.5, "tags": ["a", "b;"], "extra": {"k": [1]}, "made": "2024-01-31T10:00:00Z"}
    result = await run(table="things", data=row)
    assert (result["status"], result["row_count"], result["rows"], result["command_0"]["row_count"]) == ("success", 1, [], 1)
    [stored] = (await run("SELECT * FROM things"))["rows"]
    assert stored == {**row, "made": "2024-01-31T10:00:00+00:00", "raw": None}


async def test_a_column_that_a_row_does_not_name_keeps_its_default(run: Run, table: str) -> None:
    await run(table="things", mode="append", data=[{"id": 1}, {"id": 2, "name": "two"}, {"id": 3}, {"id": 4, "name": None}])
    stored = (await run("SELECT name FROM things ORDER BY id"))["rows"]
    assert [row["name"] for row in stored] == ["nameless", "two", "nameless", None]


async def test_mappings_and_lists_become_json_where_the_column_is_text(run: Run, table: str) -> None:
    await run(table="things", data=[{"id": 1, "name": {"a": [1]}}, {"id": 2, "name": [1, "b"]}, {"id": 3, "name": True}])
    stored = (await run("SELECT name FROM things ORDER BY id"))["rows"]
    assert [row["name"] for row in stored] == ['{"a":[1]}', '[1,"b"]', "true"]


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("extra", '{"a": 1}', {"a": 1}),
        ("extra", "plain", "plain"),
        ("extra", 5, 5),
        ("raw", "AP8=", "AP8="),
        ("id", 5.0, 5),
        ("id", "5", 5),
        ("size", float("nan"), "nan"),
        ("name", "\u00e4\u2028😀", "\u00e4\u2028😀"),
    ],
)
async def test_values_take_the_type_of_their_column(run: Run, table: str, column: str, value: Any, stored: Any) -> None:
    await run(table="things", data={"id": 9, column: value})
    [row] = (await run(f"SELECT {column} AS v FROM things"))["rows"]
    assert str(row["v"]) == str(stored)


async def test_what_was_read_can_be_written_back(run: Run, table: str) -> None:
    await run(
        """INSERT INTO things VALUES (1, 'a', 1.5, '{x,y}', '"text"', '\\x00ff', '2024-01-31 10:00+00'), (2, NULL, 7, NULL, '[1]', NULL, NULL)"""
    )
    rows = (await run("SELECT * FROM things ORDER BY id"))["rows"]
    await run(table="things", mode="replace", data=rows)
    assert (await run("SELECT * FROM things ORDER BY id"))["rows"] == rows


async def test_thousands_of_rows_are_written_and_counted(run: Run, table: str) -> None:
    rows = [{"id": number, "name": f"n{number}", "extra": {"n": number}} for number in range(12_000)]
    assert (await run(table="things", data=rows))["row_count"] == 12_000
    assert (await run("SELECT count(*) AS n, sum((extra ->> 'n')::int) AS s FROM things"))["rows"] == [{"n": 12_000, "s": 11_999 * 6_000}]


async def test_a_write_is_all_or_nothing(run: Run, table: str) -> None:
    rows = [{"id": number} for number in range(12_000)]
    with pytest.raises(ToolError, match="duplicate key") as caught:
        await run(table="things", data=[*rows, {"id": 5}])
    assert caught.value.extra["code"] == "23505"
    assert (await run("SELECT count(*) AS n FROM things"))["rows"] == [{"n": 0}]


async def test_upsert_changes_known_rows_and_inserts_the_others_the_last_of_equal_keys_wins(run: Run, table: str) -> None:
    await run(table="things", data=[{"id": 1, "name": "old", "size": 1}])
    written = await run(table="things", mode="upsert", key="id", data=[{"id": 1, "name": "x"}, {"id": 2, "name": "two"}, {"id": 1, "name": "new"}])
    assert written["row_count"] == 2
    assert (await run("SELECT id, name, size FROM things ORDER BY id"))["rows"] == [
        {"id": 1, "name": "new", "size": 1},
        {"id": 2, "name": "two", "size": None},
    ]
    assert (await run(table="things", mode="upsert", key=["id"], data={"id": 1}))["row_count"] == 0


async def test_update_changes_known_rows_only(run: Run, table: str) -> None:
    await run(table="things", data=[{"id": 1, "name": "old", "size": 1}])
    written = await run(table="things", mode="update", key="id", data=[{"id": 1, "name": "new"}, {"id": 2, "name": "two"}])
    assert written["row_count"] == 1
    assert (await run("SELECT id, name, size FROM things"))["rows"] == [{"id": 1, "name": "new", "size": 1}]


async def test_replace_leaves_only_the_new_rows(run: Run, table: str) -> None:
    await run(table="things", data=[{"id": 1}, {"id": 2}])
    assert (await run(table="things", mode="replace", data=[{"id": 3}]))["row_count"] == 1
    assert (await run("SELECT id FROM things"))["rows"] == [{"id": 3}]
    assert (await run(table="things", mode="replace", data=[]))["row_count"] == 0
    assert (await run("SELECT id FROM things"))["rows"] == []


async def test_rows_may_come_as_args_also_by_handle(run: Run, table: str, make_context: MakeContext) -> None:
    from noetl.blobs import write_blob

    await run(table="things", context={"args": {"id": 1, "name": "from args"}})
    big = {"k": "v" * 100}
    encoded = encode(big)
    write_blob(make_context().resources.artifacts_dir, encoded)
    await run(table="things", context={"args": {"id": 2, "extra": handle_of(big, encoded)}})
    with pytest.raises(ToolError, match="not in the store any more") as caught:
        await run(table="things", context={"args": {"id": 3, "extra": handle_of("gone", encode("gone"))}})
    assert (caught.value.kind, caught.value.extra["code"]) == ("not_found", "REFERENCE_NOT_AVAILABLE")
    assert (await run("SELECT name, extra FROM things ORDER BY id"))["rows"] == [
        {"name": "from args", "extra": None},
        {"name": "nameless", "extra": big},
    ]


async def test_names_are_found_as_sql_finds_them(run: Run, postgres: Postgres) -> None:
    await run('DROP SCHEMA IF EXISTS "Odd" CASCADE; CREATE SCHEMA "Odd"; CREATE TABLE "Odd"."T""x" ("camelCase" int, "select" text, Folded int)')
    await run(table='"Odd"."T""x"', data={"camelCase": 1, "select": "a", "FOLDED": 3})
    assert (await run('SELECT * FROM "Odd"."T""x"'))["rows"] == [{"camelCase": 1, "select": "a", "folded": 3}]
    await run('DROP SCHEMA "Odd" CASCADE')


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"table": "things"}, "no rows to write"),
        ({"table": "things", "data": "text"}, "must be a mapping or a list of mappings, not str"),
        ({"table": "things", "data": [1]}, r"data\[0\]' must be a mapping"),
        ({"table": "things", "data": {}}, "empty mapping"),
        ({"table": "things", "data": {"id": 1, "colour": "red"}}, "has no column 'colour'; it has id, name"),
        ({"table": "things", "data": {"id": 1}, "mode": "upsert"}, "needs 'key'"),
        ({"table": "things", "data": {"id": 1}, "mode": "update", "key": "id"}, "column besides the key"),
        ({"table": "things", "data": {"name": "a"}, "mode": "upsert", "key": "id"}, "no value for the key column 'id'"),
        ({"table": "things; DROP TABLE things", "data": {"id": 1}}, "is not a table name"),
        ({"table": "things", "data": {"raw": "no base64"}}, "base64"),
        ({"table": "things", "data": {"id": 1}, "command": "SELECT 1"}, "not both"),
    ],
)
async def test_a_write_that_can_not_be_made_as_written_says_why(run: Run, table: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolRefused, match=message):
        await run(**fields)


async def test_a_write_to_a_table_that_does_not_exist_is_a_database_error(run: Run) -> None:
    with pytest.raises(ToolError, match='relation "nowhere" does not exist') as caught:
        await run(table="nowhere", data={"id": 1})
    assert caught.value.kind == "database"
