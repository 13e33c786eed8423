"""What the SQL tools share: reading SQL text, the shape of results, table writes."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noetl.errors import ToolError, ToolRefused
from noetl.tools import sql
from noetl.tools.postgres_types import PostgresDialect
from noetl.tools.statements import bind, controls_transactions, fits_one_transaction, forbids_transaction, has_word, split, tokens
from noetl.tools.table import BATCH_ROWS, Column, Mode, Write, key_names, plan, quoted_table
from tests.postgres import Postgres


def texts(text: str) -> list[str]:
    return [statement.text for statement in split(text)]


# Splitting


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ; ;; -- only a comment;\n /* and ; another */ ;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' ; SELECT 'it''s; fine'", ["SELECT ';'", "SELECT 'it''s; fine'"]),
        ('SELECT "a;""b;"; SELECT 2', ['SELECT "a;""b;"', "SELECT 2"]),
        (r"SELECT E'\';' ; SELECT 'c:\';'x'", [r"SELECT E'\';'", "SELECT 'c:\\'", "'x'"]),
        (r"SELECT e'a''\\' ; SELECT 2", [r"SELECT e'a''\\'", "SELECT 2"]),
        ("SELECT $$a;b$$; SELECT $x$ $$;$$ $y$;$y$ ;$x$; SELECT 3", ["SELECT $$a;b$$", "SELECT $x$ $$;$$ $y$;$y$ ;$x$", "SELECT 3"]),
        ("SELECT a$b$c; SELECT $1; SELECT $2$;", ["SELECT a$b$c", "SELECT $1", "SELECT $2$"]),
        ("SELECT 1 -- a; comment\n; SELECT 2", ["SELECT 1 -- a; comment", "SELECT 2"]),
        ("SELECT /* a; /* nested; */ b; */ 1; SELECT 2", ["SELECT /* a; /* nested; */ b; */ 1", "SELECT 2"]),
        ("SELECT 1--'\n; SELECT 2 /* ' */; SELECT 3", ["SELECT 1--'", "SELECT 2 /* ' */", "SELECT 3"]),
        ("SELECT 4 - -1; SELECT 4 / 2 * 2", ["SELECT 4 - -1", "SELECT 4 / 2 * 2"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); SELECT 3",
            ["CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)", "SELECT 3"],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 2",
            ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END", "SELECT 2"],
        ),
        (
            "create or replace procedure p() begin atomic insert into t values (1); end; call p()",
            ["create or replace procedure p() begin atomic insert into t values (1); end", "call p()"],
        ),
        (
            "CREATE FUNCTION f(begin int) RETURNS int LANGUAGE sql AS 'x'; SELECT 2",
            ["CREATE FUNCTION f(begin int) RETURNS int LANGUAGE sql AS 'x'", "SELECT 2"],
        ),
        ("BEGIN; SELECT CASE WHEN true THEN 1 END; END; SELECT 1", ["BEGIN", "SELECT CASE WHEN true THEN 1 END", "END", "SELECT 1"]),
        ("CREATE TABLE begin_end (a int); CREATE VIEW v AS SELECT 1", ["CREATE TABLE begin_end (a int)", "CREATE VIEW v AS SELECT 1"]),
        ("SELECT 'never closed; SELECT 2", ["SELECT 'never closed; SELECT 2"]),
        ("SELECT $$never closed; SELECT 2", ["SELECT $$never closed; SELECT 2"]),
        ("SELECT 1 /* never closed; SELECT 2", ["SELECT 1 /* never closed; SELECT 2"]),
        ("SELECT (1; SELECT 2", ["SELECT (1; SELECT 2"]),
        ("SELECT 1); SELECT 2", ["SELECT 1)", "SELECT 2"]),
    ],
)
def test_a_text_is_split_where_the_server_would(text: str, statements: list[str]) -> None:
    assert texts(text) == statements


PIECES = st.one_of(
    st.sampled_from(
        ["SELECT", "a", "1.5", "e", "E", "$", "$1", ":x", "::", " ", "\n", ",", "(", ")", "=", "-", "/", "*", "CASE", "END", "ä", "\\", "'", '"']
    ),
    st.text(alphabet="a';\"$-/*\\\n E", max_size=8).map(lambda inner: "'" + inner.replace("'", "''") + "'"),
    st.text(alphabet="a';\"$-/*\\\n E", max_size=8).map(lambda inner: '"' + inner.replace('"', '""') + '"'),
    st.text(alphabet="a';\"-/*\\\n E", max_size=8).map(lambda inner: f"$t${inner}$t$"),
    st.text(alphabet="a';\"$-\\ E", max_size=8).map(lambda inner: f"/*{inner}*/"),
    st.text(alphabet="a';\"$-/*\\ E", max_size=8).map(lambda inner: f"--{inner}\n"),
    st.just(";"),
)


def meaning(text: str) -> list[str]:
    """The text's pieces without comments, white space around them, and semicolons."""
    pieces = [(token.kind, text[token.start : token.end]) for token in tokens(text)]
    bare = ["".join(piece.split()) if kind == "other" else piece.strip() for kind, piece in pieces if kind != "comment"]
    return [piece for piece in bare if piece not in {"", ";"}]


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=400)
def test_splitting_loses_nothing_but_separators_comments_and_space(text: str) -> None:
    assert "".join(text[token.start : token.end] for token in tokens(text)) == text
    statements = texts(text)
    assert all(statement in text for statement in statements)
    assert [piece for statement in statements for piece in meaning(statement)] == meaning(text)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=200)
def test_what_was_split_stays_as_it_is_when_it_is_split_again(text: str) -> None:
    once = texts(text)
    assert [again for statement in once for again in texts(statement)] == once


@given(st.text(max_size=40), st.sampled_from(["'{}'", "E'{}'", '"{}"', "$q${}$q$"]))
@settings(max_examples=300)
def test_what_stands_in_quotes_never_splits(inner: str, quote: str) -> None:
    if quote.startswith("$"):
        escaped = inner.replace("$", "")
    elif quote.startswith("E"):
        escaped = inner.replace("\\", "\\\\").replace("'", "\\'")
    else:
        escaped = inner.replace(quote[0], quote[0] * 2)
    statement = f"SELECT {quote.format(escaped) if '{}' in quote else escaped}"
    assert texts(f"{statement};SELECT 2") == [statement.strip(), "SELECT 2"]


async def test_the_server_reads_literals_as_the_splitter_does(postgres: Postgres) -> None:
    literals = [r"E'a\'; b'", "$x$;$$;$x$", "'a''; b'", "'c:\\'", "/* ; /* ; */ */ 'x'", "U&'d\\0061t;'", "B'1'::text", "-- ;\n'y'"]
    connection = await asyncpg.connect(postgres.dsn())
    whole = "; ".join(f"SELECT {literal} AS v" for literal in literals)
    values = [await connection.fetchval(statement) for statement in texts(whole)]
    assert values == ["a'; b", ";$$;", "a'; b", "c:\\", "x", "dat;", "1", "y"]
    await connection.close()


# Placeholders


@pytest.mark.parametrize(
    ("text", "params", "bound", "values"),
    [
        ("SELECT $1, $2", ["a", "b"], "SELECT $1, $2", ["a", "b"]),
        ("SELECT $3, $1, $3", ["a", "b", "c"], "SELECT $1, $2, $1", ["c", "a"]),
        ("SELECT '$1', $$ $1 $$, \"$1\" -- $1\n, $2", ["a", "b"], "SELECT '$1', $$ $1 $$, \"$1\" -- $1\n, $1", ["b"]),
        ("SELECT :a, :b, :a", {"a": 1, "b": 2}, "SELECT $1, $2, $1", [1, 2]),
        (
            "SELECT :a::int, x::text, y[1:n], z[:a], ':a', t.c /* :b */",
            {"a": 1, "n": 9},
            "SELECT $1::int, x::text, y[1:n], z[$1], ':a', t.c /* :b */",
            [1],
        ),
        ("SELECT 1 WHERE a := 1", {}, "SELECT 1 WHERE a := 1", []),
        ("SELECT $1 AS dollars_are_text_here", {"a": 1}, "SELECT $1 AS dollars_are_text_here", []),
    ],
)
def test_placeholders_are_numbered_for_their_statement(text: str, params: Any, bound: str, values: list[Any]) -> None:
    assert bind(split(text)[0], params) == (bound, values)


@pytest.mark.parametrize(("text", "params"), [("SELECT $0", [1]), ("SELECT $2", [1]), ("SELECT :b", {"a": 1})])
def test_a_placeholder_without_a_value_is_refused(text: str, params: Any) -> None:
    with pytest.raises(ToolRefused):
        bind(split(text)[0], params)


# Words


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN",
        "begin work",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "ROLLBACK",
        "abort",
        "PREPARE TRANSACTION 'x'",
        "/* c */ COMMIT",
        "COMMIT PREPARED 'x'",
    ],
)
def test_some_statements_control_transactions(text: str) -> None:
    assert controls_transactions(split(text)[0])


@pytest.mark.parametrize(
    "text", ["SAVEPOINT a", "ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a", "SELECT 'BEGIN'", "PREPARE p AS SELECT 1", "(SELECT 1)"]
)
def test_others_do_not(text: str) -> None:
    assert not controls_transactions(split(text)[0])


@pytest.mark.parametrize(
    "text",
    [
        "VACUUM",
        "vacuum (full) t",
        "CREATE DATABASE d",
        "DROP DATABASE IF EXISTS d",
        "CREATE TABLESPACE s LOCATION '/x'",
        "ALTER SYSTEM SET a = 1",
        "ALTER DATABASE d SET TABLESPACE s",
        "DISCARD ALL",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
        "DROP INDEX CONCURRENTLY i",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        "REINDEX (VERBOSE) DATABASE d",
        "REINDEX INDEX CONCURRENTLY i",
        "CLUSTER",
        "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
    ],
)
def test_some_statements_forbid_a_transaction(text: str) -> None:
    assert forbids_transaction(split(text)[0])
    assert not fits_one_transaction(split(f"SELECT 1; {text}"))


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE vacuum_log (a int)",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "REINDEX TABLE t",
        "CLUSTER t USING i",
        "ALTER DATABASE d SET x = 1",
        "INSERT INTO t VALUES ('VACUUM')",
        "CREATE INDEX i ON t (a)",
        "SELECT 1; CALL p(); DO 'x'",
    ],
)
def test_others_are_run_in_one(text: str) -> None:
    assert fits_one_transaction(split(text))


@pytest.mark.parametrize("text", ["CALL p()", "DO $$ BEGIN COMMIT; END $$"])
def test_a_lone_routine_may_end_transactions_of_its_own(text: str) -> None:
    assert not fits_one_transaction(split(text))


def test_a_word_counts_outside_of_quotes_and_comments_only() -> None:
    assert has_word("INSERT INTO t VALUES (1) returning a", "RETURNING")
    assert not has_word("INSERT INTO t VALUES ('RETURNING') -- RETURNING\n", "RETURNING")
    assert not has_word('SELECT "returning", returning_x', "RETURNING")


# Results


def test_a_result_names_every_command_and_repeats_the_last_rows() -> None:
    first, second, third = sql.Entry(["a"], [{"a": 1}], 1), sql.Entry(["b"], [], 0), sql.Entry(row_count=7)
    made = sql.result([first, second, third])
    assert (made["status"], made["rows"], made["columns"], made["row_count"]) == ("success", [], ["b"], 7)
    assert [made[f"command_{index}"]["columns"] for index in range(3)] == [["a"], ["b"], []]


def test_a_budget_bounds_the_sum_of_all_rows() -> None:
    budget = sql.RowBudget(1_000)
    budget.spend([{"a": "x" * 400}])
    budget.spend([{"a": "x" * 400}])
    with pytest.raises(ToolError, match="more than 1,000 bytes") as caught:
        budget.spend([{"a": "x" * 400}])
    assert caught.value.kind == "limit"


# Table writes

COLUMNS = [Column("id", "integer"), Column("name", "text"), Column("Mixed", "text"), Column("extra", "jsonb")]


def planned(rows: list[dict[str, Any]], mode: Mode = "insert", key: list[str] | None = None) -> list[tuple[str, str | None]]:
    commands = plan(Write('"t"', mode, key or [], rows), COLUMNS, PostgresDialect())
    return [(command.sql, command.rows_json) for command in commands]


def test_the_same_rows_make_one_statement_per_set_of_columns() -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "name": "a"}, {"id": 2}, {"name": "c", "id": 3}, {"id": 4, "name": "d"}]
    assert planned(rows) == [
        (
            'INSERT INTO "t" ("id", "name") SELECT "id", "name" FROM json_to_recordset($1::text::json) AS s("id" integer, "name" text)',
            '[{"id":1,"name":"a"},{"id":4,"name":"d"}]',
        ),
        ('INSERT INTO "t" ("id") SELECT "id" FROM json_to_recordset($1::text::json) AS s("id" integer)', '[{"id":2}]'),
        (
            'INSERT INTO "t" ("name", "id") SELECT "name", "id" FROM json_to_recordset($1::text::json) AS s("name" text, "id" integer)',
            '[{"name":"c","id":3}]',
        ),
    ]


def test_each_mode_has_its_statement() -> None:
    source = 'json_to_recordset($1::text::json) AS s("id" integer, "name" text)'
    row = {"id": 1, "name": "a"}
    assert [sql_text for sql_text, _ in planned([row], "upsert", ["id"])] == [
        f'INSERT INTO "t" ("id", "name") SELECT "id", "name" FROM {source} ON CONFLICT ("id") DO UPDATE SET "name" = EXCLUDED."name"'
    ]
    assert [sql_text for sql_text, _ in planned([row], "update", ["id"])] == [
        f'UPDATE "t" SET "name" = s."name" FROM {source} WHERE "t"."id" = s."id"'
    ]
    assert [sql_text for sql_text, _ in planned([], "replace")] == ['DELETE FROM "t"']
    assert planned([row], "append") == planned([row], "insert")


def test_many_rows_are_several_statements() -> None:
    assert len(planned([{"id": number} for number in range(2 * BATCH_ROWS + 1)])) == 3


def test_columns_are_found_by_exact_name_and_else_without_case() -> None:
    [(_, rows)] = planned([{"ID": 1, "Mixed": "a"}])
    assert rows == '[{"id":1,"Mixed":"a"}]'
    [(_, rows)] = planned([{"mixed": "a", "EXTRA": '{"a": 1}'}])
    assert rows == '[{"Mixed":"a","extra":{"a":1}}]'


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("Users", '"users"'),
        ("public.Users", '"public"."users"'),
        ('"Users"', '"Users"'),
        ('a."B ""x"', '"a"."B ""x"'),
        (" t ", '"t"'),
        ("ä_1$", '"ä_1$"'),
    ],
)
def test_a_table_is_named_as_in_sql(name: str, quoted: str) -> None:
    assert quoted_table(name) == quoted


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a.", ".a", '"a', "1a", 't" (x) --', "a..b", "t -- x"])
def test_anything_else_is_no_table(name: str) -> None:
    with pytest.raises(ToolRefused, match="is not a table name"):
        quoted_table(name)


@pytest.mark.parametrize(("key", "names"), [("id", ["id"]), ("a, b", ["a", "b"]), (["a", "b"], ["a", "b"]), (None, [])])
def test_a_key_is_text_or_a_list(key: Any, names: list[str]) -> None:
    assert key_names(key) == names
