"""Servers whose certificate a private authority signed: who trusts it, and by which of the ways."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from handful.errors import Denied, StoreError, Unreachable, UserError
from handful.storage.open import open_source, open_store
from handful.storage.s3.store import S3Store
from tests.support.s3_servers import AnyServer, Certificate, certificate, running, tls_proxy
from tests.support.servers import S3Server, free_ports, role, running_s3

VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "AWS_PROFILE")


@pytest.fixture(scope="module", params=["seaweedfs", "rclone"])
def server(request: pytest.FixtureRequest) -> Iterator[AnyServer]:
    """One behind a proxy that speaks TLS, and one that speaks it by itself."""
    with running(request.param, tls=True) as found:
        yield found


@pytest.fixture(autouse=True)
def nobody_trusts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if "server" in request.fixturenames:
        found: AnyServer = request.getfixturevalue("server")
        for name, value in found.owner.environment().items():
            monkeypatch.setenv(name, value)


def store_of(
    server: AnyServer, ca_bundle: Path | None = None, profile: str | None = None
) -> S3Store:
    found = open_store(
        server.place(), endpoint_url=server.endpoint_url, ca_bundle=ca_bundle, profile=profile
    )
    assert isinstance(found, S3Store)
    return found


def by_obstore(store: S3Store) -> None:
    store.write("a", b"1")
    assert store.read("a") == b"1"
    assert store.head("a").size == 1


def by_boto3(store: S3Store) -> None:
    store.clients.boto().head_bucket(Bucket=store.bucket)


def by_s3fs(store: S3Store) -> None:
    store.write("b", b"2")
    assert store.path("b").read_bytes() == b"2"


CLIENTS = (by_obstore, by_boto3, by_s3fs)


def from_key(server: AnyServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> S3Store:
    return store_of(server, server.ca)


def from_variable(server: AnyServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> S3Store:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.ca))
    return store_of(server)


def from_requests(server: AnyServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> S3Store:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    return store_of(server)


def from_profile(server: AnyServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> S3Store:
    owner = server.owner
    (folder / "config").write_text(
        f"[profile mine]\naws_access_key_id = {owner.access_key}\n"
        f"aws_secret_access_key = {owner.secret_key}\nca_bundle = {server.ca}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    return store_of(server, profile="mine")


WAYS = (from_key, from_variable, from_requests, from_profile)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", WAYS)
def test_every_client_trusts_by_every_way(
    server: AnyServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: Callable[..., S3Store],
    client: Callable[[S3Store], None],
) -> None:
    client(way(server, monkeypatch, tmp_path))


def test_the_key_comes_before_the_variable(
    server: AnyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate(tmp_path).ca))
    for client in CLIENTS:
        client(store_of(server, server.ca))


@pytest.mark.slow
def test_whom_nobody_trusts_is_told_as_a_certificate(server: AnyServer) -> None:
    store = store_of(server)
    with pytest.raises(Unreachable, match="certificate is not trusted") as told:
        store.read("a")
    assert "CA_BUNDLE" in str(told.value)
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        list(store.list())
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        list(store.list("no-folder"))  # this one is boto3's
    with pytest.raises(Exception, match="certificate verify failed"):
        store.path("a").read_bytes()  # in the user's functions


def test_the_wrong_authority_is_no_better(server: AnyServer, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="certificate"):
        store_of(server, certificate(tmp_path).ca).read("a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "left", "words"),
    [
        ("elsewhere.example", timedelta(days=9), "S3_ENDPOINT_URL must hold a name"),
        ("127.0.0.1", timedelta(days=-1), "renewed"),
    ],
)
def test_other_faults_of_a_certificate_have_their_own_remedy(
    s3_server: S3Server, tmp_path: Path, name: str, left: timedelta, words: str
) -> None:
    ca = trustme.CA()
    shown = ca.issue_cert(name, not_after=datetime.now(UTC) + left)
    cert = Certificate(tmp_path / "ca.pem", tmp_path / "chain.pem", tmp_path / "key.pem")
    ca.cert_pem.write_to_path(cert.ca)
    shown.cert_chain_pems[0].write_to_path(cert.chain)
    shown.private_key_pem.write_to_path(cert.key)
    with tls_proxy(s3_server.endpoint_url, cert) as address:
        store = open_store(s3_server.place(), endpoint_url=address, ca_bundle=cert.ca)
        assert isinstance(store, S3Store)
        for ask in (lambda: store.read("a"), lambda: list(store.list("no-folder"))):
            with pytest.raises(Unreachable, match="certificate is not trusted") as told:
                ask()
            assert words in str(told.value)


def test_a_bundle_of_several_is_read_whole(server: AnyServer, tmp_path: Path) -> None:
    assert server.ca is not None
    bundle = tmp_path / "all.pem"
    bundle.write_bytes(certificate(tmp_path).ca.read_bytes() + server.ca.read_bytes())
    for client in CLIENTS:
        client(store_of(server, bundle))


@pytest.mark.parametrize(
    "content", [None, b"", b"\x30\x82\x01\x01", b"-----BEGIN CERTIFICATE-----\nQQ==\n"]
)
def test_a_variable_that_names_no_certificates_is_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    source = open_source("s3://bucket", endpoint_url="https://127.0.0.1:9")
    with pytest.raises(UserError, match="AWS_CA_BUNDLE: the file"):
        source.read("a")


def test_plain_http_needs_no_authority(tmp_path: Path, s3_server: S3Server) -> None:
    ca = certificate(tmp_path).ca
    store = open_store(s3_server.place(), endpoint_url=s3_server.endpoint_url, ca_bundle=ca)
    store.write("a", b"1")
    assert store.read("a") == b"1"


@pytest.mark.slow
def test_who_lends_the_role_is_trusted_by_the_same_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The role, the copies and the user's paths, all over TLS of a private authority."""
    cert = certificate(tmp_path)
    with running_s3(roles=True) as server, tls_proxy(server.endpoint_url, cert) as address:
        for name, value in server.reader.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", address)

        def store(ca: Path | None, **more: Any) -> S3Store:
            found = open_store(
                server.place(),
                endpoint_url=address,
                role_arn=role("writes"),
                ca_bundle=ca,
                **more,
            )
            assert isinstance(found, S3Store)
            return found

        for client in CLIENTS:
            client(store(cert.ca))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(Unreachable, match="certificate of the server that lends the role"):
            store(None).read("a")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{free_ports(1)[0]}")
        with pytest.raises(Unreachable, match="nobody answers who could lend"):
            store(cert.ca).read("a")


@pytest.mark.slow
def test_a_profile_keeps_its_word_when_it_assumes_a_role(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Endpoint and certificates of the profile hold for the role's own requests, too."""
    cert = certificate(tmp_path)
    with running_s3(roles=True) as server, tls_proxy(server.endpoint_url, cert) as address:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        reader = server.reader
        (tmp_path / "config").write_text(
            f"[profile mine]\naws_access_key_id = {reader.access_key}\n"
            f"aws_secret_access_key = {reader.secret_key}\nregion = us-east-1\n"
            f"endpoint_url = {address}\nca_bundle = {cert.ca}\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        store = open_store(server.place(), profile="mine", role_arn=role("writes"))
        assert isinstance(store, S3Store)
        by_obstore(store)
        by_boto3(store)
        wrong = open_store(
            server.place("handful-production"), profile="mine", role_arn=role("writes")
        )
        with pytest.raises((Denied, StoreError)):
            wrong.write("a", b"1")
