"""The S3 servers that packages give, each over http and over TLS by a private CA.

SeaweedFS, `rclone serve s3`, nanio, moto, ministack and localbucket come from PyPI; Ceph's gateway
(RGW) from Debian (`ceph-mon`, `ceph-osd`, `radosgw`; it runs in memory). All listen on the loopback
only. TLS is the server's own where it has one, else that of a small proxy before it (`tls_proxy`).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import REGION, Login, S3Server, free_ports, make_buckets, running_s3

BIN = Path(sys.executable).parent
ENOUGH_SECONDS = 60
MAKE_TEST = ("seaweedfs", "rclone", "moto", "nanio")
SLOW = ("rgw", "ministack", "localbucket")


@dataclass(frozen=True)
class Certificate:
    """A private CA, and what a server on the loopback shows that the CA signed."""

    ca: Path
    chain: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    """A new CA with a certificate for localhost and 127.0.0.1, written below `folder`."""
    import trustme

    ca = trustme.CA()
    mine = ca.issue_cert("localhost", "127.0.0.1")
    made = Certificate(folder / "ca.pem", folder / "chain.pem", folder / "key.pem")
    ca.cert_pem.write_to_path(made.ca)
    for number, part in enumerate(mine.cert_chain_pems):
        part.write_to_path(made.chain, append=number > 0)
    mine.private_key_pem.write_to_path(made.key)
    return made


@dataclass(frozen=True)
class AnyServer(S3Server):
    """A running server of one of the makes; over https with its private `ca`."""

    name: str = ""
    ca: Path | None = None

    def client(self, **options: Any) -> Any:
        import boto3
        from botocore.config import Config

        # For arranging only: what every server understands, whatever handful itself sends.
        plain: dict[str, Any] = {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"},
        }
        session = boto3.Session(self.owner.access_key, self.owner.secret_key, region_name=REGION)
        return session.client(
            "s3",
            endpoint_url=self.endpoint_url,
            config=Config(**(plain | options)),
            verify=str(self.ca) if self.ca else None,
        )

    def environment(self) -> dict[str, str]:
        """The variables by which every client finds the login, and trusts the CA."""
        trusted = {name: str(self.ca) for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE") if self.ca}
        return self.owner.environment() | trusted


@contextmanager
def running(name: str, *, tls: bool = False) -> Iterator[AnyServer]:
    """Start the server `name`, make its buckets, and stop it at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"handful-{name}-"))
    folder.chmod(0o755)
    try:
        cert = certificate(folder) if tls else None
        with _STARTS[name](folder, cert) as server:
            if cert and server.endpoint_url.startswith("http://"):
                with tls_proxy(server.endpoint_url, cert) as address:
                    yield replace(server, endpoint_url=address, ca=cert.ca)
            else:
                yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def tls_proxy(endpoint_url: str, cert: Certificate) -> Iterator[str]:
    """An https address that passes every byte on to `endpoint_url` (http); a process of its own."""
    port = free_ports(1)[0]
    own = [sys.executable, str(Path(__file__).parent / "tls_proxy.py")]
    command = [*own, str(port), endpoint_url, str(cert.chain), str(cert.key)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the proxy does not listen"
        yield f"https://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def _process(
    name: str,
    command: list[str],
    folder: Path,
    endpoint_url: str,
    *,
    cert: Certificate | None = None,
    owner: Login | None = None,
    reader: Login | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[AnyServer]:
    """The command, once its buckets are there."""
    owner = owner or _login("owner")
    server = AnyServer(endpoint_url, owner, reader or owner, name=name, ca=cert and cert.ca)
    with _running_command(command, folder, environment) as (process, log):
        make_buckets(server, process, log)
        yield server


@contextmanager
def _running_command(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / f"{Path(command[0]).name}.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=kept | dict(environment or {}),
        )
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()


def _login(name: str) -> Login:
    return Login(f"{name}-{secrets.token_hex(4)}", secrets.token_hex(16))


def _address(cert: Certificate | None) -> tuple[int, str]:
    port = free_ports(1)[0]
    return port, f"{'https' if cert else 'http'}://127.0.0.1:{port}"


@contextmanager
def _seaweedfs(_folder: Path, _cert: Certificate | None) -> Iterator[AnyServer]:
    with running_s3() as server:
        yield AnyServer(server.endpoint_url, server.owner, server.reader, name="seaweedfs")


@contextmanager
def _rclone(folder: Path, cert: Certificate | None) -> Iterator[AnyServer]:
    owner = _login("owner")
    port, address = _address(cert)
    (folder / "data").mkdir()
    command = [str(BIN / "rclone"), "serve", "s3", str(folder / "data")]
    command += ["--addr", f"127.0.0.1:{port}", "--config", str(folder / "rclone.conf")]
    command += ["--auth-key", f"{owner.access_key},{owner.secret_key}"]
    if cert:
        command += ["--cert", str(cert.chain), "--key", str(cert.key)]
    with _process("rclone", command, folder, address, cert=cert, owner=owner) as server:
        yield server


@contextmanager
def _nanio(folder: Path, _cert: Certificate | None) -> Iterator[AnyServer]:
    owner = _login("owner")
    port, address = _address(None)
    command = [str(BIN / "nanio"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(folder / "data"), "--no-access-log"]
    env = {"NANIO_ACCESS_KEY": owner.access_key, "NANIO_SECRET_KEY": owner.secret_key}
    with _process("nanio", command, folder, address, owner=owner, environment=env) as server:
        yield server


@contextmanager
def _moto(folder: Path, cert: Certificate | None) -> Iterator[AnyServer]:
    port, address = _address(cert)
    command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    if cert:
        command += ["-s", "-c", str(cert.chain), "-k", str(cert.key)]
    with _process("moto", command, folder, address, cert=cert) as server:
        yield server


@contextmanager
def _ministack(folder: Path, _cert: Certificate | None) -> Iterator[AnyServer]:
    port, address = _address(None)
    env = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "s3",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "data"),
        "TMPDIR": str(folder),
    }
    with _process("ministack", [str(BIN / "ministack")], folder, address, environment=env) as it:
        yield it


@contextmanager
def _localbucket(folder: Path, _cert: Certificate | None) -> Iterator[AnyServer]:
    port, address = _address(None)
    (folder / "data").mkdir()
    command = [str(BIN / "localbucket"), "--host", "127.0.0.1", "--port", str(port)]
    with _process("localbucket", [*command, str(folder / "data")], folder, address) as server:
        yield server


@contextmanager
def _rgw(folder: Path, cert: Certificate | None) -> Iterator[AnyServer]:
    """A monitor, one object store daemon in memory, and the gateway."""
    if not shutil.which("radosgw"):
        pytest.fail("no radosgw: apt-get install ceph-mon ceph-osd ceph-common radosgw")
    conf = _ceph_conf(folder)
    base = ["-c", str(conf)]
    mkfs = ["--mkfs", "-i", "a", "--monmap", str(folder / "monmap")]
    mkfs += ["--keyring", str(folder / "keyring")]
    _ceph("ceph-mon", *base, *mkfs, "--mon-data", str(folder / "mon"))
    monitor = ["ceph-mon", *base, "-f", "-i", "a", "--mon-data", str(folder / "mon")]
    osd = ["ceph-osd", *base, "-i", "0", "--osd-data", str(folder / "osd")]
    with _running_command(monitor, folder):
        unit = str(uuid.uuid4())
        _ceph("ceph", *base, "osd", "new", unit)
        (folder / "osd").mkdir()
        _ceph(*osd, "--mkfs", "--osd-uuid", unit)
        with _running_command([*osd, "-f"], folder):
            owner, reader = _rgw_user(base, "owner"), _rgw_user(base, "reader")
            port, address = _address(cert)
            front = f"beast endpoint=127.0.0.1:{port}"
            if cert:
                front = (
                    f"beast ssl_endpoint=127.0.0.1:{port} "
                    f"ssl_certificate={cert.chain} ssl_private_key={cert.key}"
                )
            gateway = ["radosgw", *base, "-f", "-n", "client.rgw", f"--rgw-frontends={front}"]
            with _process(
                "rgw", gateway, folder, address, cert=cert, owner=owner, reader=reader
            ) as server:
                _let_read(server)
                yield server


def _ceph_conf(folder: Path) -> Path:
    """A cluster of one, on ports of the loopback."""
    first, second = free_ports(2)
    cluster, monitor = str(uuid.uuid4()), f"[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]"
    conf = folder / "ceph.conf"
    lines = {
        "fsid": cluster,
        "mon host": monitor,
        "osd objectstore": "memstore",
        "memstore device bytes": "2147483648",
        "osd pool default size": "1",
        "osd pool default min size": "1",
        "osd pool default pg num": "1",
        "osd pool default pg autoscale mode": "off",
        "osd crush chooseleaf type": "0",
        "mon allow pool size one": "true",
        "mon max pg per osd": "1000",
        "run dir": str(folder),
        "admin socket": str(folder / "$name.asok"),
        "log file": str(folder / "$name.log"),
        "keyring": str(folder / "keyring"),
        "crash dir": str(folder),
        "rgw relaxed region enforcement": "true",
    }
    told = "".join(f"{name} = {value}\n" for name, value in lines.items())
    # A monitor would take the standard port of a public address, whatever its map says.
    loopback = "".join(f"{name} addr = 127.0.0.1\n" for name in ("public", "cluster"))
    conf.write_text(f"[global]\n{told}[osd]\n{loopback}")
    for who in ("mon.", "osd.0", "client.admin", "client.rgw"):
        caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        new = () if (folder / "keyring").exists() else ("--create-keyring",)
        _ceph("ceph-authtool", str(folder / "keyring"), *new, "--gen-key", "-n", who, *caps)
    one = ["--create", "--fsid", cluster, "--addv", "a", monitor, str(folder / "monmap")]
    _ceph("monmaptool", *one)
    return conf


def _ceph(*command: str) -> str:
    """One administrative command; its output."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ENOUGH_SECONDS, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.fail(f"{' '.join(command)}: {error}\n{error.stderr}", pytrace=False)
    return done.stdout


def _rgw_user(base: list[str], name: str) -> Login:
    login = _login(name)
    keys = ["--access-key", login.access_key, "--secret", login.secret_key]
    who = ["--uid", name, "--display-name", name, *keys]
    _ceph("radosgw-admin", *base, "-n", "client.rgw", "user", "create", *who)
    return login


def _let_read(server: AnyServer) -> None:
    """The user `reader` may list and read."""
    client = server.client()
    for bucket in server.buckets:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


KINDS = tuple(f"{name}-{way}" for name in (*MAKE_TEST, *SLOW) for way in ("http", "https"))


@pytest.fixture(scope="session")
def s3_servers() -> Iterator[Callable[[str], AnyServer]]:
    """A server of each of `KINDS`, started when it is first asked for."""
    started: dict[str, AnyServer] = {}
    with ExitStack() as stack:

        def server(kind: str) -> AnyServer:
            if kind not in started:
                name, _, way = kind.partition("-")
                started[kind] = stack.enter_context(running(name, tls=way == "https"))
            return started[kind]

        yield server


def kinds(*, slow: Collection[str] = ()) -> list[Any]:
    """Every one of `KINDS` as a parameter; those of `SLOW`, and of `slow`, are slow."""
    slow = {*SLOW, *slow}
    return [
        pytest.param(kind, marks=[pytest.mark.slow] if slow & {*kind.split("-")} else [])
        for kind in KINDS
    ]


_Start = Callable[[Path, "Certificate | None"], Any]
_STARTS: dict[str, _Start] = {
    "seaweedfs": _seaweedfs,
    "rclone": _rclone,
    "nanio": _nanio,
    "moto": _moto,
    "ministack": _ministack,
    "localbucket": _localbucket,
    "rgw": _rgw,
}


def main() -> None:
    """`python -m tests.support.s3_servers NAME [tls]`: run one until the standard input ends."""
    with running(sys.argv[1], tls="tls" in sys.argv[2:]) as server:
        told = {"endpoint_url": server.endpoint_url, **server.environment()}
        print(json.dumps(told), flush=True)
        with suppress(KeyboardInterrupt):
            while sys.stdin.readline():
                time.sleep(0.1)


if __name__ == "__main__":
    main()
