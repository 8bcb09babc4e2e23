#!/usr/bin/env bash
# MariaDB Connector/Python 1.1.14 (pip: mariadb==1.1.14, compiled with Debian's libmariadb), against
# MariaDB 10.11.
#
# A cursor that streams (buffered=False) is what one takes for many rows. Where the server ends the
# result with an error after some rows (a time limit, a division, a killed query, a subquery of two
# rows), one would guess that fetching raises it, as PyMySQL's and mysqlclient's streaming cursors
# do, and as this driver does with buffered=True. It does not: the rows end as if they were all.
#
# Needs: mariadb-server and libmariadb-dev of Debian, a C compiler, Python's headers.
set -euo pipefail
export PATH="$PATH:/usr/sbin"
work=$(mktemp -d)
server=""
cleanup() { [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q mariadb==1.1.14 pymysql==1.1.2
user=$(id -un)
if [ "$(id -u)" = 0 ]; then user=mysql; chown mysql "$work"; fi
chmod 755 "$work"
mariadb-install-db --no-defaults --user="$user" --datadir="$work/data" \
  --auth-root-authentication-method=normal --skip-test-db >"$work/install.log" 2>&1
mariadbd --no-defaults --user="$user" --datadir="$work/data" --socket="$work/socket" \
  --pid-file="$work/pid" --skip-networking >"$work/server.log" 2>&1 &
server=$!
cat >"$work/streamed.py" <<'PY'
import sys
import time
from importlib.metadata import version

import mariadb
import pymysql
import pymysql.cursors

QUERY = """SELECT seq, IF(seq = 50000, (SELECT 1 UNION SELECT 2), 1) FROM seq_1_to_60000"""
socket = sys.argv[1]
for _ in range(300):
    try:
        pymysql.connect(unix_socket=socket, user="root").close()
        break
    except pymysql.err.OperationalError:
        time.sleep(0.1)


def read(name, cursor):
    count = 0
    try:
        cursor.execute(QUERY)
        while rows := cursor.fetchmany(1000):
            count += len(rows)
        said = "no error"
    except Exception as error:
        said = f"{type(error).__name__}: {error.args[-1]}"
    print(f"{name:32} {count:6} rows, {said}")
    return count, said


def plain():
    return mariadb.connect(unix_socket=socket, user="root", database="mysql")


first = pymysql.connect(unix_socket=socket, user="root", database="mysql")
packages = [f"{name} {version(name)}" for name in ("mariadb", "pymysql")]
print(*packages, "server", first.get_server_info(), sep=" | ")
by_pymysql = read("PyMySQL, SSCursor", first.cursor(pymysql.cursors.SSCursor))
buffered = read("mariadb, buffered=True", plain().cursor(buffered=True))
connection = plain()
streamed = read("mariadb, buffered=False", connection.cursor(buffered=False))
after = connection.cursor()
after.execute("SHOW ERRORS")
print("SHOW ERRORS afterwards:", after.fetchall())
others_raise = all("more than 1 row" in said for _, said in (buffered, by_pymysql))
sys.exit(0 if streamed == (49999, "no error") and others_raise else 1)
PY
"$work/venv/bin/python" "$work/streamed.py" "$work/socket"
echo "seen: streaming gave 49,999 of 60,000 rows and no error; the others raised the server's error"
