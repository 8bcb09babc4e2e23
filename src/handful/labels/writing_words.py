"""The words of SQL that write, or that leave something behind, in any of the known databases."""

from __future__ import annotations

import re

READING = {"SELECT", "WITH", "VALUES", "FROM", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"}
READING |= {"PRAGMA", "PIVOT", "UNPIVOT", "SUMMARIZE", "EXEC", "EXECUTE", "CALL", "{", "HELP"}
"""Words that a query which reads may begin with; whatever an EXEC or CALL does is its own."""

WRITING = {
    *("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT", "TRUNCATE"),
    *("CREATE", "DROP", "ALTER", "RECREATE", "RENAME", "COMMENT", "GRANT", "REVOKE", "DENY"),
    *("COPY", "LOAD", "UNLOAD", "EXPORT", "IMPORT", "PUT", "GET", "REMOVE", "BACKUP"),
    *("RESTORE", "ATTACH", "DETACH", "INSTALL", "UNINSTALL", "VACUUM", "REINDEX", "CLUSTER"),
    *("CHECKPOINT", "OPTIMIZE", "REPAIR", "ANALYZE", "REFRESH", "FLUSH", "RESET", "PURGE", "KILL"),
    *("SHUTDOWN", "SET", "LOCK", "UNLOCK", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT"),
    *("RELEASE", "PREPARE", "DEALLOCATE", "DO", "HANDLER", "NOTIFY", "LISTEN", "UNLISTEN"),
    *(
        "DISCARD",
        "SECURITY",
        "CHANGE",
        "USE",
        "BULK",
        "DBCC",
        "RECONFIGURE",
        "UNDROP",
        "MSCK",
        "CHECK",
    ),
}
"""Words that begin a statement which writes, or changes the session or its transaction."""

WRITING_PARTS = {
    *("Alter", "Attach", "Copy", "Create", "Delete", "Detach", "Drop", "Export", "Insert"),
    *("LoadData", "Merge", "Set", "TruncateTable", "Update"),
}
"""What sqlglot calls the parts of a statement that write, wherever they stand in it."""

FOLLOWS = {"INSERT": "INTO", "DELETE": "FROM", "MERGE": "INTO"}
"""What tells such a word behind a parenthesis from a column of that name."""

WRITING_FUNCTION = re.compile(
    # sequences and generators
    "NEXTVAL|SETVAL|GEN_ID|GEN_UUID_SEQUENCE"
    # files and large objects of a PostgreSQL server
    "|LO_(IMPORT|EXPORT|CREATE?|UNLINK|PUT|FROM_BYTEA|TRUNCATE(64)?)|LOWRITE"
    "|PG_FILE_(WRITE|RENAME|UNLINK|SYNC)"
    # other sessions, the server itself, replication
    "|PG_(TERMINATE|CANCEL)_BACKEND|PG_RELOAD_CONF|PG_ROTATE_LOGFILE(_OLD)?|PG_PROMOTE"
    "|PG_(SWITCH_WAL|SWITCH_XLOG|CREATE_RESTORE_POINT|LOG_BACKEND_MEMORY_CONTEXTS)"
    "|PG_(BACKUP_START|BACKUP_STOP|START_BACKUP|STOP_BACKUP)|PG_WAL_REPLAY_(PAUSE|RESUME)"
    "|PG_(CREATE|COPY)_(PHYSICAL|LOGICAL)_REPLICATION_SLOT|PG_DROP_REPLICATION_SLOT"
    "|PG_REPLICATION_(SLOT_ADVANCE|ORIGIN_.*)|PG_LOGICAL_(SLOT_GET_.*|EMIT_MESSAGE)"
    "|PG_STAT_(RESET.*|STATEMENTS_RESET)|PG_NOTIFY|PG_IMPORT_SYSTEM_COLLATIONS"
    "|BRIN_(DE)?SUMMARIZE_.*|GIN_CLEAN_PENDING_LIST|SET_CONFIG"
    # locks that outlive a row
    "|PG_(TRY_)?ADVISORY_.*|GET_LOCK|RELEASE_(ALL_)?LOCKS?"
    # other connections, other programs
    "|DBLINK(_.*)?|(POSTGRES|MYSQL|SQLITE|MSSQL)_EXECUTE|SYS_(EXEC|EVAL|SET)"
    "|SPIDER_(BG_)?DIRECT_SQL|SPIDER_COPY_TABLES|SP_EXECUTESQL|XP_CMDSHELL|LOAD_EXTENSION"
    "|WRITEFILE|WRITE_LOG"
    r"|SYSTEM\$(CANCEL_.*|ABORT_.*|SEND_.*)"
)
"""Functions that a read-only transaction does not stop, or that stop with an odd word."""

OTHER_QUERY = {"OPENQUERY", "OPENROWSET", "OPENDATASOURCE", "EXTERNAL_QUERY"}
"""Functions that hand a query in quotes to another server."""

ROW_LOCKS = "leave FOR UPDATE, FOR SHARE or LOCK IN SHARE MODE out: others would wait for it"
