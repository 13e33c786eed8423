"""The duckdb tool on real databases."""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from noetl.errors import ToolError, ToolRefused
from noetl.settings import Settings, ValueLimits
from noetl.tools import duckdb as tool
from noetl.tools.duckdb_attachments import Attachment, attachments_of, extension_file
from noetl.tools.duckdb_databases import MEMORY, Database, Session, open_databases
from noetl.tools.tool import Credential
from noetl.values import encode
from tests.postgres import Postgres
from tests.tools.conftest import MakeContext

Run = Callable[..., Awaitable[Any]]

needs_postgres = pytest.mark.skipif(extension_file("postgres_scanner") is None, reason="no duckdb-extension-postgres-scanner for this DuckDB")
needs_httpfs = pytest.mark.skipif(extension_file("httpfs") is None, reason="no duckdb-extension-httpfs for this DuckDB")
without_packages = pytest.mark.skipif(extension_file("httpfs") is not None, reason="this DuckDB has its extensions at hand")


@pytest.fixture
def run(make_context: MakeContext, tmp_path: Path) -> Run:
    """`await run(query="SELECT 1")`: a call of the tool; `context` are fields of the call and its context."""

    async def call(command: Any = None, *, context: dict[str, Any] | None = None, **fields: Any) -> Any:
        result = await tool.run(tool.Input(command=command, **fields), make_context(**{"base_dirs": (tmp_path,), **(context or {})}))
        encode(result)  # every result must be a value
        return result

    return call


# Statements and results


async def test_a_command_gives_a_mapping_with_an_entry_for_every_statement(run: Run) -> None:
    result = await run("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2); SELECT a FROM t ORDER BY a; UPDATE t SET a = 5 WHERE a = 1;")
    rows = [{"a": 1}, {"a": 2}]
    assert result == {
        "status": "success",
        "command_0": {"status": "success", "rows": [], "row_count": -1, "columns": []},
        "command_1": {"status": "success", "rows": [], "row_count": 2, "columns": []},
        "command_2": {"status": "success", "rows": rows, "row_count": 2, "columns": ["a"]},
        "command_3": {"status": "success", "rows": [], "row_count": 1, "columns": []},
        "rows": rows,
        "columns": ["a"],
        "row_count": 1,
    }


async def test_a_query_gives_the_plain_list_of_rows_of_the_last_statement_that_returned_rows(run: Run) -> None:
    assert await run(query="SELECT 1 AS a; SELECT 2 AS b; CREATE TABLE t (a INTEGER)") == [{"b": 2}]
    assert await run(query="SELECT 1 AS a WHERE false") == []
    assert await run(query="CREATE TABLE u (a INTEGER)") == []


async def test_commands_are_numbered_over_all_texts_of_a_list(run: Run) -> None:
    result = await run(["SELECT 'a;b' AS x; -- one\n", "SELECT 2 AS y"])
    assert (result["command_0"]["rows"], result["command_1"]["rows"], "command_2" in result) == ([{"x": "a;b"}], [{"y": 2}], False)


@pytest.mark.parametrize(
    ("statement", "rows", "count"),
    [
        ('INSERT INTO t VALUES (3) RETURNING a AS "Count"', [{"Count": 3}], 1),
        ('INSERT INTO t SELECT 3 AS "returning"', [], 1),
        ("DELETE FROM t", [], 2),
        ("CREATE TABLE copy AS SELECT * FROM t", [], 2),
        ('SELECT 7::BIGINT AS "Count"', [{"Count": 7}], 1),
        ("FROM t ORDER BY a", [{"a": 1}, {"a": 2}], 2),
        ("SET threads = 1", [], -1),
        ("DROP TABLE t", [], -1),
        ("SHOW TABLES", [{"name": "t"}], 1),
    ],
)
async def test_rows_and_counts_of_statements_of_every_sort(run: Run, statement: str, rows: list[Any], count: int) -> None:
    await run("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2)")
    result = await run(statement)
    assert (result["rows"], result["row_count"]) == (rows, count)


async def test_a_pivot_which_the_driver_runs_as_several_statements_gives_its_rows(run: Run) -> None:
    await run("CREATE TABLE t AS SELECT * FROM (VALUES ('x', 1), ('y', 2)) AS v(k, n)")
    assert (await run("PIVOT t ON k USING sum(n)"))["rows"] == [{"x": 1, "y": 2}]


async def test_a_task_without_sql_or_with_two_sources_is_refused(run: Run) -> None:
    for fields in ({}, {"command": " "}, {"query": "-- nothing"}):
        with pytest.raises(ToolRefused, match="no SQL"):
            await run(**fields)
    with pytest.raises(ToolRefused, match="one of"):
        await run("SELECT 1", query="SELECT 1")


async def test_sql_may_come_from_a_script(run: Run, tmp_path: Path) -> None:
    (tmp_path / "total.sql").write_text("SELECT 7 AS n")
    assert (await run(script={"uri": "total.sql", "source": {"type": "file"}}))["rows"] == [{"n": 7}]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("5::DECIMAL(5, 0)", 5),
        ("1.50::DECIMAL(5, 2)", 1.5),
        ("123456789012345678901::HUGEINT", "123456789012345678901"),
        ("NULL", None),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIMESTAMP '2024-02-29 10:00:00'", "2024-02-29T10:00:00"),
        ("TIMESTAMPTZ '2024-02-29 10:00:00+02'", "2024-02-29T08:00:00+00:00"),
        ("TIME '10:30:00'", "10:30:00"),
        ("INTERVAL '90 minutes'", 5400.0),
        ("'8a3503e7-686f-400d-84f0-6bca0478c976'::UUID", "8a3503e7-686f-400d-84f0-6bca0478c976"),
        ("'\\x00\\xFF'::BLOB", base64.b64encode(b"\x00\xff").decode()),
        ("""'{"a": [1, null]}'::JSON""", {"a": [1, None]}),
        ("NULL::JSON", None),
        ("[1, NULL, 3]", [1, None, 3]),
        ("{'a': 1, 'b': [DATE '2024-01-01']}", {"a": 1, "b": ["2024-01-01"]}),
        ("MAP {'k': 1.5::DOUBLE}", {"k": 1.5}),
        ("'x'::ENUM ('x', 'y')", "x"),
    ],
)
async def test_values_of_every_type_become_plain_ones(run: Run, expression: str, value: Any) -> None:
    assert await run(query=f"SELECT {expression} AS v") == [{"v": value}]


# Parameters


async def test_params_are_bound_by_position_or_by_name(run: Run) -> None:
    assert await run(query="SELECT ? AS a, ? AS b", params=["it's", 2]) == [{"a": "it's", "b": 2}]
    assert await run(query="SELECT $x AS x", params={"x": {"k": [1]}, "unused": 1}) == [{"x": {"k": [1]}}]
    result = await run("SELECT $2 AS b; SELECT $1 AS a", params=["a", "b"])
    assert (result["command_0"]["rows"], result["rows"]) == ([{"b": "b"}], [{"a": "a"}])


async def test_a_param_that_is_missing_is_named(run: Run) -> None:
    for text, params, name in (("SELECT $1, $2", ["a"], "2"), ("SELECT ?", None, "1"), ("SELECT ?", {"a": 1}, "1"), ("SELECT $a, $b", {"a": 1}, "b")):
        with pytest.raises(ToolRefused, match=rf"asks for \${name} and"):
            await run(text, params=params)


# Databases


async def test_the_steps_of_an_execution_share_one_database(run: Run) -> None:
    await run("CREATE TABLE t AS SELECT 1 AS a", context={"step": "first"})
    assert await run(query="SELECT * FROM t", context={"step": "second"}) == [{"a": 1}]


async def test_executions_do_not_see_each_others_database(run: Run) -> None:
    await run("CREATE TABLE t AS SELECT 1 AS a", context={"execution_id": 1})
    with pytest.raises(ToolError, match="t does not exist"):
        await run("SELECT * FROM t", context={"execution_id": 2})


async def test_an_executions_database_is_deleted_at_its_end_and_others_stay(run: Run, make_context: MakeContext) -> None:
    resources = make_context().resources
    for execution_id in (1, 2):
        await run("CREATE TABLE t AS SELECT 1 AS a", context={"execution_id": execution_id})
    await resources.end_execution(1)
    assert not resources.execution_dir(1).exists()
    assert await run(query="SELECT * FROM t", context={"execution_id": 2}) == [{"a": 1}]
    with pytest.raises(ToolError, match="t does not exist"):
        await run("SELECT * FROM t", context={"execution_id": 1})


async def test_an_execution_that_may_be_resumed_keeps_its_database(run: Run, make_context: MakeContext) -> None:
    await run("CREATE TABLE t AS SELECT 1 AS a")
    await make_context().resources.end_execution(1, resumable=True)
    assert await run(query="SELECT * FROM t") == [{"a": 1}]


async def test_the_end_of_an_execution_without_a_database_is_no_error(make_context: MakeContext) -> None:
    await make_context().resources.get("duckdb", open_databases)
    await make_context().resources.end_execution(99)


async def test_an_executions_database_survives_a_restart_of_the_node(run: Run, make_context: MakeContext) -> None:
    await run("CREATE TABLE t AS SELECT 1 AS a")
    await make_context().resources.close()
    assert await run(query="SELECT * FROM t") == [{"a": 1}]


async def test_a_named_database_is_a_file_of_the_working_directory_that_stays(run: Run, make_context: MakeContext, tmp_path: Path) -> None:
    await run("CREATE TABLE t AS SELECT 1 AS a", database="data/sales.duckdb")
    await make_context().resources.end_execution(1)
    assert await run(query="SELECT * FROM t", database=str(tmp_path / "data/sales.duckdb"), context={"execution_id": 2}) == [{"a": 1}]


async def test_a_named_database_can_be_opened_by_another_process_between_two_calls(run: Run, tmp_path: Path) -> None:
    await run("CREATE TABLE t AS SELECT 1 AS a", database="shared.duckdb")
    code = f"import duckdb; duckdb.connect({str(tmp_path / 'shared.duckdb')!r}).execute('INSERT INTO t VALUES (2)')"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)
    assert await run(query="SELECT sum(a) AS s FROM t", database="shared.duckdb") == [{"s": 3}]


async def test_a_database_that_another_process_holds_is_worth_a_retry(run: Run, tmp_path: Path) -> None:
    code = f"import duckdb; held = duckdb.connect({str(tmp_path / 'held.duckdb')!r}); print('held', flush=True); input()"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    with pytest.raises(ToolError, match=r"can't open database 'held.duckdb'.*Could not set lock") as caught:
        await run("SELECT 1", database="held.duckdb")
    assert (caught.value.kind, caught.value.retryable) == ("database", True)
    await holder.communicate(b"\n")
    assert await run(query="SELECT 1 AS a", database="held.duckdb") == [{"a": 1}]


async def test_a_file_that_is_no_database_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.duckdb").write_text("not a database " * 1000)
    with pytest.raises(ToolError, match=r"can't open database 'x.duckdb'") as caught:
        await run("SELECT 1", database="x.duckdb")
    assert (caught.value.kind, caught.value.retryable) == ("database", False)


async def test_several_calls_work_on_one_database_at_once(run: Run) -> None:
    await run("CREATE TABLE t (a INTEGER)")
    await asyncio.gather(*(run("INSERT INTO t SELECT $n", params={"n": number}) for number in range(20)))
    assert await run(query="SELECT count(*) AS n, sum(a) AS s FROM t") == [{"n": 20, "s": 190}]


async def test_calls_that_open_a_named_database_at_once_share_it(run: Run) -> None:
    results = await asyncio.gather(*(run(query=f"SELECT {number} AS n", database="busy.duckdb") for number in range(20)))
    assert [result[0]["n"] for result in results] == list(range(20))


async def test_duckdb_uses_every_core_and_a_task_may_bound_the_memory(run: Run) -> None:
    assert await run(query="SELECT current_setting('threads') AS n") == [{"n": len(os.sched_getaffinity(0))}]
    [row] = await run(query="SELECT current_setting('memory_limit') AS m", context={"memory_bytes": 2**30})
    assert row["m"] == "1.0 GiB"


async def test_a_temporary_table_lives_as_long_as_its_call(run: Run) -> None:
    for _ in range(2):
        assert await run(query="CREATE TEMP TABLE t AS SELECT 1 AS a; SELECT * FROM t") == [{"a": 1}]


# Transactions and errors


async def test_each_statement_stands_for_itself_unless_the_text_begins_a_transaction(run: Run) -> None:
    await run("CREATE TABLE t (a INTEGER)")
    for begin in ("", "BEGIN;"):
        with pytest.raises(ToolError, match=r"of [34]"):
            await run(f"{begin} INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); SELECT error('no')")
    assert await run(query="SELECT count(*) AS n FROM t") == [{"n": 2}]


async def test_a_transaction_that_the_text_leaves_open_is_rolled_back_and_reported(run: Run) -> None:
    with pytest.raises(ToolRefused, match="add COMMIT"):
        await run("BEGIN; CREATE TABLE t (a INTEGER)")
    assert await run(query="SHOW TABLES") == []
    assert (await run("BEGIN; CREATE TABLE t (a INTEGER); COMMIT"))["status"] == "success"


async def test_nothing_runs_when_the_text_can_not_be_read(run: Run) -> None:
    with pytest.raises(ToolError, match="the SQL can't be read") as caught:
        await run("CREATE TABLE t (a INTEGER); SELEKT 1")
    assert (caught.value.kind, caught.value.extra) == ("database", {"code": "ParserException"})
    assert await run(query="SHOW TABLES") == []


async def test_a_failing_statement_fails_the_task_and_says_which(run: Run) -> None:
    with pytest.raises(ToolError, match=r"statement 2 of 2: .*nowhere does not exist") as caught:
        await run(["SELECT 1", "SELECT * FROM nowhere"])
    assert (caught.value.kind, caught.value.retryable, caught.value.extra["code"]) == ("database", False, "CatalogException")


async def test_writers_that_get_in_each_others_way_are_worth_a_retry(run: Run, make_context: MakeContext) -> None:
    await run("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)", database="c.duckdb")
    with duckdb.connect(make_context(base_dirs=()).resources.state_dir.parent / "c.duckdb") as other:
        other.execute("BEGIN; UPDATE t SET a = 2")
        with pytest.raises(ToolError) as caught:
            await run("UPDATE t SET a = 3", database="c.duckdb")
    assert (caught.value.kind, caught.value.retryable) == ("database", True)


async def test_a_database_that_a_full_disk_has_broken_is_opened_again(run: Run) -> None:
    await run("CREATE TABLE t AS SELECT range AS a FROM range(1000)")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(ToolError, match="File too large") as caught:
            await run("CHECKPOINT")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.extra["code"], caught.value.retryable) == ("FatalException", True)
    assert await run(query="SELECT count(*) AS n FROM t") == [{"n": 1000}]


@pytest.fixture
async def no_network(run: Run, tmp_path: Path) -> None:
    """The execution's database finds no extensions, neither here nor elsewhere."""
    await run(f"SET GLOBAL extension_directory = '{tmp_path}'; SET GLOBAL custom_extension_repository = 'http://127.0.0.1:1'")


async def test_an_extension_that_can_not_be_downloaded_is_an_error_that_says_what_to_do(run: Run, no_network: None) -> None:
    with pytest.raises(ToolError, match="INSTALL httpfs where there is a network") as caught:
        await run("INSTALL httpfs; LOAD httpfs")
    assert caught.value.kind == "database"


# Large results


async def test_a_result_beyond_the_limit_fails_before_it_is_whole(run: Run) -> None:
    small = Settings(values=ValueLimits(result_max_bytes=100_000))
    with pytest.raises(ToolError, match="more than 100,000 bytes") as caught:
        await run("SELECT range AS i, repeat('x', 100) AS t FROM range(1000000000000)", context={"settings": small})
    assert caught.value.kind == "limit"


async def test_more_than_a_million_rows_are_no_result(run: Run) -> None:
    with pytest.raises(ToolError, match="more than 1,000,000 rows") as caught:
        await run("SELECT 1 AS i FROM range(1000000000000)")
    assert caught.value.kind == "limit"


# Cancellation

ENDLESS = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b"


async def exist(*files: Path) -> None:
    while not all(file.exists() for file in files):  # DuckDB's news of a statement that has run is a file
        await asyncio.sleep(0)


@pytest.mark.parametrize("rest", [ENDLESS, "SELECT 1; " * 5000 + ENDLESS, f"INSERT INTO before {ENDLESS}"])
async def test_a_cancelled_call_has_stopped_what_it_ran(run: Run, make_context: MakeContext, tmp_path: Path, rest: str) -> None:
    await run("CREATE TABLE before AS SELECT 1 AS a")
    call = asyncio.ensure_future(run(f"COPY (SELECT 1) TO '{tmp_path}/begun'; {rest}"))
    await exist(tmp_path / "begun")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    databases = await make_context().resources.get("duckdb", open_databases)
    assert [database.users for database in databases._open.values()] == [0]
    assert await run(query="SELECT * FROM before") == [{"a": 1}]


async def test_a_call_that_is_cancelled_twice_has_stopped_all_the_same(run: Run, make_context: MakeContext, tmp_path: Path) -> None:
    call = asyncio.ensure_future(run(f"COPY (SELECT 1) TO '{tmp_path}/begun'; {ENDLESS}"))
    await exist(tmp_path / "begun")
    call.cancel()
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    databases = await make_context().resources.get("duckdb", open_databases)
    assert await run(query="SELECT 1 AS a") == [{"a": 1}]
    assert [database.users for database in databases._open.values()] == [0]


async def test_a_call_that_is_cancelled_before_it_has_begun_leaves_nothing_open(run: Run, tmp_path: Path) -> None:
    for turns in range(8):
        call = asyncio.ensure_future(run("CREATE TABLE IF NOT EXISTS t (a INTEGER)", database="c.duckdb"))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        code = f"import duckdb; duckdb.connect({str(tmp_path / 'c.duckdb')!r})"
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)


async def test_a_cancelled_call_begins_no_further_statement(make_context: MakeContext, tmp_path: Path) -> None:
    session = Session(make_context().resources, Database(tmp_path / "x.duckdb", keep=True))
    begun, go_on, ran = threading.Event(), threading.Event(), []

    def statements() -> None:
        begun.set()
        go_on.wait()
        session.check()
        ran.append("the second")

    call = asyncio.ensure_future(session.run(statements))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ran == []


async def test_a_call_that_is_cancelled_while_no_thread_is_free_never_runs(run: Run, tmp_path: Path) -> None:
    await run("CREATE TABLE t (a INTEGER)")
    endless = [asyncio.ensure_future(run(f"COPY (SELECT 1) TO '{tmp_path}/begun-{number}'; {ENDLESS}")) for number in range(16)]
    await exist(*(tmp_path / f"begun-{number}" for number in range(16)))
    waiting = asyncio.ensure_future(run("INSERT INTO t VALUES (1)"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not any(call.done() for call in endless)
    for call in endless:
        call.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*endless, return_exceptions=True))
    assert await run(query="SELECT count(*) AS n FROM t") == [{"n": 0}]


# Table writes


async def test_rows_are_written_with_the_types_of_their_columns(run: Run) -> None:
    await run(
        "CREATE TABLE t (i INTEGER, s VARCHAR, d DATE, j JSON, l INTEGER[], o STRUCT(a INTEGER), n DECIMAL(9, 2), b BLOB, f DOUBLE, z TIMESTAMPTZ)"
    )
    row = {"i": 1, "s": "it's; --", "d": "2024-01-31", "j": {"k": [1]}, "l": [1, None], "o": {"a": 1}, "n": 1.5, "b": "AP8=", "f": 0.1}
    row["z"] = "2024-01-31T10:00:00+00:00"
    result = await run(table="t", data=row)
    assert (result["status"], result["row_count"], result["rows"], result["command_0"]["row_count"]) == ("success", 1, [], 1)
    assert await run(query="SELECT * FROM t") == [row]


async def test_mappings_and_lists_become_json_where_the_column_is_text(run: Run) -> None:
    await run("CREATE TABLE t (i INTEGER, s VARCHAR)")
    await run(table="t", data=[{"i": 1, "s": {"a": [1]}}, {"i": 2, "s": [1, "b"]}, {"i": 3, "s": 5}])
    assert [row["s"] for row in await run(query="SELECT s FROM t ORDER BY i")] == ['{"a":[1]}', '[1,"b"]', "5"]


async def test_upsert_update_and_replace(run: Run) -> None:
    await run("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR DEFAULT 'nameless', size INTEGER)")
    assert (await run(table="t", data=[{"id": 1, "name": "old", "size": 1}, {"id": 2}]))["row_count"] == 2
    assert (await run(table="t", mode="upsert", key="id", data=[{"id": 1, "name": "x"}, {"id": 3, "name": "c"}, {"id": 1, "name": "new"}]))[
        "row_count"
    ] == 2
    assert (await run(table="t", mode="update", key=["id"], data=[{"id": 3, "size": 3}, {"id": 9, "size": 9}]))["row_count"] == 1
    assert await run(query="SELECT * FROM t ORDER BY id") == [
        {"id": 1, "name": "new", "size": 1},
        {"id": 2, "name": "nameless", "size": None},
        {"id": 3, "name": "c", "size": 3},
    ]
    assert (await run(table="t", mode="replace", data={"id": 7}))["row_count"] == 1
    assert await run(query="SELECT id FROM t") == [{"id": 7}]


async def test_a_write_is_all_or_nothing(run: Run) -> None:
    await run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with pytest.raises(ToolError, match='can\'t write to "t"'):
        await run(table="t", data=[*({"id": number} for number in range(12_000)), {"id": 5}])
    assert await run(query="SELECT count(*) AS n FROM t") == [{"n": 0}]
    assert (await run(table="t", data=[{"id": number} for number in range(12_000)]))["row_count"] == 12_000


async def test_a_write_to_a_table_that_does_not_exist_is_a_database_error(run: Run) -> None:
    with pytest.raises(ToolError, match="nowhere does not exist") as caught:
        await run(table="nowhere", data={"id": 1})
    assert caught.value.kind == "database"


# Credentials


HMAC = Credential("gcs_hmac_local", "hmac", {"key_id": "GOOG1", "secret_key": "hmac-secret's"})
S3 = Credential("lake", "s3", {"access_key_id": "AK", "secret_access_key": "s3", "endpoint": "http://minio:9"})


def scoped(credential: Credential, scope: str) -> Credential:
    """As the engine opens an entry that has a scope."""
    return Credential(credential.name, credential.kind, {**credential.data, "scope": scope})


PG = Credential("pg_local", "postgres", {"host": "h", "user": "u", "password": "a'b\\c", "database": "d"})


@pytest.mark.parametrize(
    ("alias", "credential", "sql"),
    [
        (
            "",
            PG,
            r"""ATTACH 'host=''h'' user=''u'' password=''a\''b\\c'' dbname=''d'' port=''5432'' connect_timeout=10' AS "pg_local" (TYPE postgres)""",
        ),
        ("pg_db", Credential("k", "postgres", {"dsn": "postgresql://u:p@h/d"}), """ATTACH 'postgresql://u:p@h/d' AS "pg_db" (TYPE postgres)"""),
        (
            "s",
            scoped(HMAC, "gs://bucket"),
            """CREATE OR REPLACE TEMPORARY SECRET "s" (TYPE gcs, KEY_ID 'GOOG1', SECRET 'hmac-secret''s', SCOPE 'gs://bucket')""",
        ),
        (
            "",
            scoped(HMAC, "s3://bucket"),
            """CREATE OR REPLACE TEMPORARY SECRET "gcs_hmac_local" (TYPE s3, KEY_ID 'GOOG1', SECRET 'hmac-secret''s', SCOPE 's3://bucket')""",
        ),
        (
            "",
            S3,
            """CREATE OR REPLACE TEMPORARY SECRET "lake" (TYPE s3, KEY_ID 'AK', SECRET 's3', ENDPOINT 'minio:9', URL_STYLE 'path', USE_SSL 'false')""",
        ),
    ],
)
def test_a_credential_becomes_an_attachment_or_a_scoped_secret(alias: str, credential: Credential, sql: str) -> None:
    [attachment] = attachments_of({alias: credential})
    assert attachment.enter == sql


@pytest.mark.parametrize(
    ("credential", "message"),
    [
        (Credential("c", "bearer", {"token": "t"}), "of kind 'bearer': only postgres, s3, gcs and hmac"),
        (Credential("c", "gcs", {"service_account": "{}"}), "no key id and secret"),
        (Credential("c", "postgres", {"password": "p"}), "has no host, user, database"),
    ],
)
async def test_a_credential_that_duckdb_can_not_use_is_refused(run: Run, credential: Credential, message: str) -> None:
    with pytest.raises(ToolRefused, match=message):
        await run("SELECT 1", context={"credentials": {"": credential}})


@without_packages
async def test_a_credential_whose_extension_can_not_be_loaded_is_an_error_that_says_so(run: Run, no_network: None) -> None:
    for credential, name in ((PG, "postgres_scanner"), (HMAC, "httpfs")):
        with pytest.raises(ToolError, match=f"extension '{name}' can't be loaded: this node can't download it") as caught:
            await run("SELECT 1", context={"credentials": {"": credential}})
        assert caught.value.kind == "database"


def other_database(file: Path) -> Attachment:
    """An attachment that needs nothing from outside."""
    return Attachment(alias="other", extension="json", enter=f"ATTACH '{file}' AS other", leave="DETACH DATABASE IF EXISTS other", secrets=())


async def until_detached(witness: Session) -> None:
    while await witness.run(lambda: witness.cursor.execute("SELECT 1 FROM duckdb_databases() WHERE database_name = 'other'").fetchone()):
        pass


@pytest.mark.parametrize("name", [MEMORY, "named.duckdb"])
async def test_an_attachment_ends_with_the_last_call_that_uses_it(make_context: MakeContext, tmp_path: Path, name: str) -> None:
    databases = await make_context().resources.get("duckdb", open_databases)
    attachment = other_database(tmp_path / "other.duckdb")
    meeting = asyncio.Barrier(5)

    async def use() -> None:
        async with databases.session(name, 1, tmp_path, [attachment]) as session:
            await meeting.wait()
            await session.run(lambda: session.cursor.execute("USE other"))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(use())
        async with databases.session(name, 1, tmp_path, []) as witness:
            await meeting.wait()
            await until_detached(witness)


async def test_an_alias_is_for_one_credential_at_a_time(make_context: MakeContext, tmp_path: Path) -> None:
    databases = await make_context().resources.get("duckdb", open_databases)
    async with databases.session(MEMORY, 1, tmp_path, [other_database(tmp_path / "a.duckdb")]):
        with pytest.raises(ToolError, match="another credential") as caught:
            async with databases.session(MEMORY, 1, tmp_path, [other_database(tmp_path / "b.duckdb")]):
                pass
    assert caught.value.retryable
    async with databases.session(MEMORY, 1, tmp_path, [other_database(tmp_path / "b.duckdb")]):
        pass


@needs_postgres
async def test_a_postgres_database_is_attached_for_the_time_of_the_call(run: Run, postgres: Postgres) -> None:
    context = {"credentials": {"pg_db": Credential("pg", "postgres", postgres.credential())}}
    await run("CREATE TABLE pg_db.public.from_duckdb AS SELECT 42 AS n", context=context)
    rows = await asyncio.gather(*(run(query="SELECT n FROM pg_db.public.from_duckdb", context=context) for _ in range(4)))
    assert rows == [[{"n": 42}]] * 4
    assert [row["database_name"] for row in await run(query="SELECT database_name FROM duckdb_databases() WHERE NOT internal")] == ["memory"]
    await run("DROP TABLE pg_db.public.from_duckdb", context=context)


@needs_postgres
async def test_a_server_that_can_not_be_attached_is_a_connection_error_without_its_password(run: Run) -> None:
    unreachable = Credential("pg", "postgres", {"host": "127.0.0.1", "port": 1, "user": "u", "password": "open-sesame", "database": "d"})
    with pytest.raises(ToolError, match=r"can't attach 'pg'.*Connection refused") as caught:
        await run("SELECT 1", context={"credentials": {"": unreachable}})
    assert (caught.value.kind, caught.value.retryable) == ("connection", True)
    assert "open-sesame" not in caught.value.message


@needs_httpfs
async def test_a_secret_lives_as_long_as_its_call(run: Run) -> None:
    text = "INSTALL httpfs; LOAD httpfs; SELECT name, scope FROM duckdb_secrets()"
    context = {"credentials": {"gcs_secret": scoped(HMAC, "gs://b")}}
    assert await run(query=text, context=context) == [{"name": "gcs_secret", "scope": ["gs://b"]}]
    assert await run(query=text) == []
