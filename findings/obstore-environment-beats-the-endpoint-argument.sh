#!/usr/bin/env bash
# obstore 0.12.1: an S3Store that is given endpoint=... in code talks to another server where the
# environment holds AWS_ENDPOINT_URL_S3.
#
# What an engineer would guess: as in boto3, and as for AWS_REGION or AWS_ENDPOINT_URL in obstore
# itself, an argument in code comes before the environment.
# What happens: the variable is read as a second option (aws_endpoint_url_s3), which comes before
# `endpoint` whoever set it. A program that reads from one server and writes to another, each named
# in code, sends both to the variable's server. obstore 0.10.0 did not know the variable. Giving
# config={"aws_endpoint_url_s3": ...} as well puts it right.
#
# Two web servers on the loopback stand for the two S3 servers; each tells who asked it.
# Exit status 0: the behaviour is as told; anything else: it changed.
set -eu
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -q obstore==0.12.1 boto3==1.43.57
cat > "$T/try.py" <<'PY'
import http.server, os, threading
from importlib.metadata import version

def server(name, asked):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(name)
            self.send_response(200); self.send_header("Content-Length", "2")
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.send_header("ETag", '"e"'); self.end_headers(); self.wfile.write(b"ok")
        def log_message(self, *_): pass
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{found.server_port}"

asked = []
code, environment = server("the argument's", asked), server("the variable's", asked)
for name in list(os.environ):
    if name.startswith("AWS_"): del os.environ[name]
os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_REGION="us-east-1")
import boto3, obstore
from obstore.store import S3Store
print("obstore", version("obstore"), "boto3", version("boto3"))

def by_obstore(**more):
    store = S3Store("bucket", endpoint=code, client_options={"allow_http": True}, **more)
    obstore.get(store, "key").bytes()
    return asked[-1]

def by_boto3():
    boto3.client("s3", endpoint_url=code).get_object(Bucket="bucket", Key="key")["Body"].read()
    return asked[-1]

found = {}
os.environ["AWS_ENDPOINT_URL"] = environment
found["AWS_ENDPOINT_URL, obstore asks"] = by_obstore()
del os.environ["AWS_ENDPOINT_URL"]
os.environ["AWS_ENDPOINT_URL_S3"] = environment
found["AWS_ENDPOINT_URL_S3, boto3 asks"] = by_boto3()
found["AWS_ENDPOINT_URL_S3, obstore asks"] = by_obstore()
found["the same, with the option too"] = by_obstore(config={"aws_endpoint_url_s3": code})
for what, who in found.items(): print(f"{what:36} {who} server")
assert list(found.values()) == ["the argument's", "the argument's", "the variable's", "the argument's"], found
PY
"$T/venv/bin/python" "$T/try.py"
# Seen:
#   obstore 0.12.1 boto3 1.43.57
#   AWS_ENDPOINT_URL, obstore asks       the argument's server
#   AWS_ENDPOINT_URL_S3, boto3 asks      the argument's server
#   AWS_ENDPOINT_URL_S3, obstore asks    the variable's server
#   the same, with the option too        the argument's server
