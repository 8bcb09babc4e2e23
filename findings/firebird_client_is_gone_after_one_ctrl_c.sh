#!/usr/bin/env bash
# firebird-driver 1.10.11 (pip) over Debian's libfbclient2 3.0, its embedded engine; the same was
# seen with a server on the loopback.
#
# A notebook or a shell catches KeyboardInterrupt and goes on; what was interrupted is tried again.
# One would guess that a database's driver does not care: Python's own handler of SIGINT is the one
# that runs, nothing of the driver was at work, and a new connection is a new connection.
# What happens: Firebird's client library hears SIGINT as well, and shuts itself down for good. Every
# later connection of this process, to any database, ends with "connection shutdown", and only a new
# process can connect. The same KeyboardInterrupt by another signal (SIGUSR1) leaves it alone. A test
# suite that sends itself SIGINT breaks the Firebird tests that come after it, and names them.
#
# Needs: libfbclient2 and firebird3.0-server-core of Debian 12 (the latter for the embedded engine).
# Exit status 0: the behaviour is as told; anything else: it changed.
set -eu
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -q firebird-driver==1.10.11 firebird-base==1.8.0
cat > "$T/try.py" <<'PY'
import os, signal, sys, time
from importlib.metadata import version

from firebird.driver import create_database

folder = sys.argv[1]
print("firebird-driver", version("firebird-driver"))

def connect(name):
    try:
        create_database(f"{folder}/{name}.fdb", user="SYSDBA", charset="UTF8").close()
        return "works"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def interrupt(number):
    try:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return "nothing raised"
    except KeyboardInterrupt:
        time.sleep(0.5)
        return "KeyboardInterrupt caught"

signal.signal(signal.SIGUSR1, signal.default_int_handler)
seen = [connect("first"), interrupt(signal.SIGUSR1), connect("second"), interrupt(signal.SIGINT), connect("third"), connect("fourth")]
for what, said in zip(("a connection", "SIGUSR1", "a connection", "SIGINT", "a connection", "another"), seen, strict=True):
    print(f"{what:14} {said}")
gone = "DatabaseError: connection shutdown"
caught = "KeyboardInterrupt caught"
sys.exit(0 if seen == ["works", caught, "works", caught, gone, gone] else 1)
PY
root=$(dirname "$(find /usr/lib -path '*firebird/3.0/plugins' -type d | head -1)")
FIREBIRD="$root" FIREBIRD_LOCK="$T" "$T/venv/bin/python" "$T/try.py" "$T"
# Seen:
#   firebird-driver 1.10.11
#   a connection   works
#   SIGUSR1        KeyboardInterrupt caught
#   a connection   works
#   SIGINT         KeyboardInterrupt caught
#   a connection   DatabaseError: connection shutdown
#   another        DatabaseError: connection shutdown
