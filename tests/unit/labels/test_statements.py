"""LABEL_QUERY is looked at before it is sent: what writes is refused, what reads passes."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from sqlalchemy.engine import make_url

from handful.errors import DataError
from handful.labels.plain_select import is_plain_select
from handful.labels.statements import check_statement
from tests.support.progress import Recording

URLS = {
    "duckdb": "duckdb:///file.db",
    "memory": "duckdb:///:memory:",
    "sqlite": "sqlite:///file.db",
}
READS = {
    "postgresql": (
        "SELECT artifact_id, label FROM labels",
        "SELECT artifact_id, label FROM labels; -- why\n;",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) TABLE r",
        "WITH x AS MATERIALIZED (SELECT 1) TABLE x",
        "VALUES (1, 2), (3, 4)",
        "TABLE labels",
        "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
        "SHOW server_version",
        'SELECT comment, load, t.lock, "update" FROM labels AS t',
        "SELECT coalesce(comment, ''), max(load), replace(a, 'DELETE FROM', 'x; DROP') FROM t",
        "SELECT 'nextval(''s'')' AS a /* nextval('s'); DELETE FROM t */ -- setval(1)",
        "SELECT \"INTO OUTFILE\", $$COPY t TO 'x'; DELETE$$ FROM t",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, created_at DESC",
        "SELECT a FROM t TABLESAMPLE SYSTEM (1) WHERE b @> '{}'::jsonb AND d ?| ARRAY['a']",
        "SELECT * FROM json_to_recordset('[]') AS x(a int), LATERAL (SELECT 1) y",
        "SELECT a, count(*) FILTER (WHERE b) OVER w FROM t WINDOW w AS (PARTITION BY c)",
        "SELECT lastval(), currval('s'), pg_sleep(0), pg_backend_pid(), current_setting('x')",
        "SELECT set_config('app.tenant', '7', true), a FROM t",
        "SELECT my_own_function(a, 'b') FROM reports.labels_of(2024)",
        "EXPLAIN SELECT 1",
    ),
    "mysql": (
        "SELECT SQL_NO_CACHE a FROM `order` USE INDEX (x) WHERE MATCH (a) AGAINST ('b')",
        "SELECT /*! STRAIGHT_JOIN */ a FROM t",
        "SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t LIMIT 2, 3",
        "SELECT REPLACE(a, 'b', 'c'), INSERT(a, 1, 1, 'x'), TRUNCATE(b, 1), `set`, `lock` FROM t",
        "SELECT GROUP_CONCAT(a ORDER BY b SEPARATOR ';') FROM t WHERE c <=> NULL",
        "SHOW TABLES",
        "DESCRIBE t",
        "VALUES ROW(1, 2), ROW(3, 4)",
        "CALL labels_of(2024)",
        "SELECT LOAD_FILE('/x'), LAST_INSERT_ID() FROM t FOR SYSTEM_TIME AS OF '2024-01-01'",
    ),
    "mariadb": ("WITH x AS (SELECT 1) SELECT * FROM x", "SELECT JSON_VALUE(a, '$.b') FROM t"),
    "sqlite": (
        "SELECT rowid, * FROM labels WHERE a GLOB 'x*'",
        "SELECT value FROM json_each('[1]')",
        "PRAGMA table_info(labels)",
        "VALUES (1, 2)",
        "WITH x(a) AS (VALUES (1)) SELECT a FROM x",
        "SELECT * FROM notes WHERE notes MATCH 'a NEAR b'",
    ),
    "duckdb": (
        "FROM labels",
        "FROM 'labels.parquet' SELECT a, b",
        "FROM read_csv('*.csv', union_by_name = true)",
        "SELECT * EXCLUDE (a) REPLACE (lower(b) AS b) FROM t",
        "SELECT COLUMNS('a.*') FROM t QUALIFY row_number() OVER (PARTITION BY a) = 1",
        "PIVOT t ON a USING count(*)",
        "UNPIVOT t ON a, b",
        "SUMMARIZE t",
        "DESCRIBE t",
        "SHOW TABLES",
        "CALL pragma_version()",
        "PRAGMA table_info('t')",
        "VALUES (1, 2)",
        "WITH x AS (FROM t) FROM x ORDER BY ALL",
        "SELECT #1, {'a': 1}.a, [x FOR x IN [1, 2]] FROM t ASOF JOIN u ON t.a = u.a AND t.b >= u.b",
    ),
    "memory": ("SELECT a AS artifact_id FROM 'x/*.parquet' USING SAMPLE 10%", "FROM 'x.parquet'"),
    "firebird": (
        "SELECT FIRST 5 SKIP 2 a FROM t",
        "SELECT * FROM labels_of(2024)",
        "EXECUTE BLOCK RETURNS (a INT) AS BEGIN a = 1; SUSPEND; END",
        "EXECUTE PROCEDURE p",
        "SELECT GEN_ID(s, 0) FROM RDB$DATABASE",
        "SELECT a FROM t ROWS 1 TO 5",
    ),
    "mssql": (
        "SELECT TOP 5 a FROM dbo.t WITH (NOLOCK) OPTION (MAXDOP 1)",
        ";WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "EXEC dbo.labels_of @year = 2024",
        "SELECT [a b], IIF(a = 1, 'x', 'y') FROM t CROSS APPLY STRING_SPLIT(b, ',')",
        "SELECT * FROM t PIVOT (COUNT(a) FOR b IN ([x], [y])) AS p",
        "SELECT * FROM OPENQUERY(other, 'SELECT a FROM t')",
        "SELECT a FROM t FOR JSON PATH",
    ),
    "oracle": (
        "SELECT a FROM t WHERE ROWNUM < 5 CONNECT BY PRIOR a = b",
        "SELECT DBMS_LOB.SUBSTR(a, 10, 1), NVL(b, 'x') FROM t, u WHERE t.a = u.a(+)",
        "SELECT a FROM t AS OF TIMESTAMP SYSDATE - 1 FETCH FIRST 5 ROWS ONLY",
    ),
    "snowflake": (
        "SELECT a FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) = 1",
        "SELECT b:c.d::string FROM t, LATERAL FLATTEN(input => b)",
        "SHOW TABLES",
        "SELECT * FROM t AT (OFFSET => -60)",
    ),
    "bigquery": (
        "SELECT * EXCEPT (a) FROM `p.d.t` FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01'",
        "SELECT a, ARRAY_AGG(STRUCT(b, c)) FROM UNNEST([1, 2]) AS a",
    ),
    "redshift": ("SELECT a, LISTAGG(b, ';') WITHIN GROUP (ORDER BY b) FROM t GROUP BY 1",),
    "trino": ("SELECT a FROM hive.x.t CROSS JOIN UNNEST(b) AS u(c)",),
    "clickhouse": ("SELECT a FROM t FINAL PREWHERE b SETTINGS max_threads = 1",),
}
WRITES = {
    "*": (
        "DELETE FROM t",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DROP TABLE t",
        "CREATE TABLE z AS SELECT 1 AS a",
        "ALTER TABLE t ADD a INT",
        "TRUNCATE TABLE t",
        "GRANT SELECT ON t TO x",
        "SELECT a FROM t; DELETE FROM t",
        "SELECT 1; SELECT 2",
        "SET a = 1",
        "COMMIT",
        "  -- a comment\n (( DELETE FROM t ))",
    ),
    "postgresql": (
        "INSERT INTO t VALUES (1) RETURNING a",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "WITH x AS (SELECT 1), y AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM x, y",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "SELECT a INTO z FROM t",
        "SELECT nextval('s')",
        "SELECT pg_catalog . \"nextval\" ('s')",
        "SELECT setval('s', 1)",
        "SELECT lo_import('/etc/passwd'), lo_export(1, '/tmp/x')",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_reload_conf(), pg_switch_wal()",
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_logical_emit_message(false, 'a', 'b')",
        "SELECT pg_create_physical_replication_slot('a')",
        "SELECT pg_stat_reset()",
        "SELECT set_config('a.b', 'c', false)",
        "SELECT * FROM dblink('x', 'DELETE FROM t') AS (a int)",
        "SELECT dblink_exec('x', 'DELETE FROM t')",
        "COPY t TO PROGRAM 'sh'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT a FROM t FOR UPDATE",
        "SELECT a FROM t FOR NO KEY UPDATE SKIP LOCKED",
        "SELECT a FROM t FOR SHARE",
        "EXPLAIN ANALYZE DELETE FROM t",
        "DO $$ BEGIN DELETE FROM t; END $$",
        "LOCK TABLE t",
        "VACUUM t",
        "REFRESH MATERIALIZED VIEW v",
        "BEGIN; DELETE FROM t",
        "SELECT 1 FROM t WHERE a ~>=< b OR nextval('s') > 1",  # not to be parsed, and refused
    ),
    "mysql": (
        "SELECT a FROM t INTO OUTFILE '/tmp/x'",
        "SELECT a INTO DUMPFILE '/tmp/x' FROM t",
        "SELECT a INTO @v FROM t",
        "SELECT a FROM t /*!50000 INTO OUTFILE '/tmp/x' */",
        "SELECT a FROM t /*M! FOR UPDATE */",
        "SELECT NEXTVAL(s)",
        "SELECT NEXT VALUE FOR s",
        "SELECT SETVAL(s, 1)",
        "SELECT GET_LOCK('a', 1)",
        "SELECT a FROM t LOCK IN SHARE MODE",
        "SELECT a FROM t FOR UPDATE",
        "REPLACE INTO t VALUES (1)",
        "DELETE FROM t RETURNING a",
        "LOAD DATA INFILE '/x' INTO TABLE t",
        "EXECUTE IMMEDIATE 'DELETE FROM t'",
        "PREPARE x FROM 'DELETE FROM t'",
        "HANDLER t OPEN",
        "DO SLEEP(1)",
        "KILL 1",
        "FLUSH TABLES",
        "OPTIMIZE TABLE t",
        "START TRANSACTION READ WRITE",
    ),
    "sqlite": (
        "ATTACH 'new.db' AS n",
        "VACUUM INTO 'new.db'",
        "REPLACE INTO t VALUES (1)",
        "REINDEX",
        "SELECT load_extension('x')",
    ),
    "duckdb": (
        "COPY t TO 'x.csv'",
        "COPY (FROM t) TO 'x.parquet'",
        "EXPORT DATABASE 'x'",
        "ATTACH 'new.db' AS n (READ_WRITE)",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TEMP TABLE x AS FROM t",
        "EXPLAIN ANALYZE COPY t TO 'x.csv'",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) FROM x",
        "SELECT nextval('s')",
        "CALL postgres_execute('p', 'DELETE FROM t')",
        "CHECKPOINT",
        "SET threads = 1",
    ),
    "memory": ("COPY (SELECT 1) TO 'x.csv'", "ATTACH 'new.db' AS n", "CREATE TABLE x (a INT)"),
    "firebird": (
        "SELECT GEN_ID(s, 1) FROM RDB$DATABASE",
        "SELECT NEXT VALUE FOR s FROM RDB$DATABASE",
        "UPDATE t SET a = 1 RETURNING a",
        "RECREATE TABLE t (a INT)",
    ),
    "mssql": (
        "SELECT a INTO #z FROM t",
        "SELECT NEXT VALUE FOR s",
        "DELETE FROM t OUTPUT deleted.a",
        "SELECT * FROM (MERGE INTO t USING s ON 1 = 1 WHEN MATCHED THEN DELETE OUTPUT $action) x",
        "SELECT * FROM OPENQUERY(other, 'DELETE FROM t OUTPUT deleted.a')",
        "EXEC ('DELETE FROM t')",
        "EXEC sp_executesql N'DELETE FROM t'",
        "EXEC xp_cmdshell 'x'",
    ),
    "oracle": ("SELECT s.NEXTVAL FROM DUAL", "BEGIN NULL; END;", "SELECT a FROM t FOR UPDATE"),
    "snowflake": (
        "SELECT s.NEXTVAL",
        "COPY INTO @stage FROM t",
        "SELECT SYSTEM$CANCEL_QUERY('x')",
        "PUT file://x @stage",
    ),
    "bigquery": (
        "EXPORT DATA OPTIONS (uri = 'gs://x') AS SELECT 1",
        "MERGE t USING s ON a WHEN MATCHED THEN DELETE",
    ),
    "redshift": ("UNLOAD ('SELECT 1') TO 's3://x'",),
}


def check(kind: str, query: str) -> list[str]:
    heard = Recording()
    check_statement(query, make_url(URLS.get(kind, f"{kind}://me:pw@host/db")), heard)
    return heard.warnings


@pytest.mark.parametrize(("kind", "query"), [(k, q) for k, qs in READS.items() for q in qs])
def test_what_reads_passes(kind: str, query: str) -> None:
    for warning in check(kind, query):
        # Only where sqlglot has no dialect, or where a procedure may do what it likes.
        assert kind in {"firebird"} or "calls a procedure" in warning


@pytest.mark.parametrize("query", [query for queries in WRITES.values() for query in queries])
def test_what_writes_never_looks_like_a_plain_select(query: str) -> None:
    assert not is_plain_select(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT artifact_id, label FROM labels",
        "select id::text AS artifact_id, kind AS label from app.documents d\n"
        "join kinds k on k.id = d.kind_id where d.gone_at is null and k.name <> 'it''s; -- not'",
        "WITH last AS (SELECT document, max(at) AS at FROM history GROUP BY document)\n"
        'SELECT d.id AS artifact_id, "h"."new label" AS label FROM last;',
        "SELECT `a` AS artifact_id, 'INSERT INTO x' AS label FROM t LIMIT 10",
    ],
)
def test_a_plain_select_needs_no_parser(query: str) -> None:
    assert is_plain_select(query)
    told = (
        "import sys; from sqlalchemy.engine import make_url; from handful.labels.statements import "
        "check_statement as c; c(sys.argv[1], make_url('sqlite:///x.db')); "
        "print('sqlglot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", told, query], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(("kind", "query"), [(k, q) for k, qs in WRITES.items() for q in qs])
def test_what_writes_is_refused_with_words(kind: str, query: str) -> None:
    for one in sorted({*READS, *WRITES} - {"*"}) if kind == "*" else [kind]:
        with pytest.raises(DataError) as caught:
            check(one, query)
        assert "LABEL_QUERY" in str(caught.value), one
        assert caught.value.fault.remedy, one


NOT_SQL = "SELECT a FROM t WHERE a =>=<= b THEN ((( OVER /* what? */"


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb", "sqlite", "firebird", "oracle"])
def test_what_cannot_be_read_is_warned_of_where_the_server_is_read_only(kind: str) -> None:
    (warning,) = check(kind, NOT_SQL)
    assert "cannot be told" in warning
    assert "read-only" in warning


@pytest.mark.parametrize(
    "kind", ["mssql", "snowflake", "redshift", "bigquery", "clickhouse", "db2"]
)
def test_what_cannot_be_read_is_refused_elsewhere(kind: str) -> None:
    with pytest.raises(DataError, match="cannot be told"):
        check(kind, NOT_SQL)


def test_a_procedure_that_may_write_is_warned_of() -> None:
    assert "only read" in check("mysql", "CALL p()")[0]
    assert "only read" in check("mssql", "EXEC p")[0]
    assert check("postgresql", "CALL p()") == []


def test_the_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        check("mysql", "CALL p('a value of a person')")
    assert "person" not in caplog.text
