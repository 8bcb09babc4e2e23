"""Server, profile, role, certificates and key arrive in every command that opens a bucket.

The servers speak TLS by a private authority, the login of a profile may do nothing but ask for a
role, and only the role may read production or write the store: whatever forgets one of the
options fails.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from handful.experiment.context import open_in_store
from handful.pipeline.production import open_in_production
from handful.settings import read_settings
from handful.storage.s3.source import S3Source
from handful.storage.s3.store import S3Store
from tests.support import servers
from tests.support.s3_servers import certificate, tls_proxy
from tests.support.servers import Login, S3Server, role, running_s3
from tests.support.tiny import HANDFUL, Tiny, make

KEY = "alias/experiment"
SOURCE = Path(__file__).parents[2] / "src" / "handful"
STORE_SIDE = {
    "S3_ENDPOINT_URL": "https://127.0.0.1:1",
    "AWS_PROFILE": "research",
    "ASSUME_ROLE_ARN": role("writes"),
    "CA_BUNDLE": "ca.pem",
}


# --- one way for each side -----------------------------------------------------------------------


def test_there_is_one_way_for_each_side() -> None:
    """Nobody else opens a bucket: the other calls name a folder of this machine."""
    callers = set()
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
                names = {name.id for name in calls if isinstance(name, ast.Name)}
                if names & {"open_store", "open_source", "Access"}:
                    callers.add((file.relative_to(SOURCE).as_posix(), function.name))
    assert callers == {
        ("experiment/context.py", "open_in_store"),
        ("pipeline/production.py", "open_in_production"),
        ("pipeline/check/__init__.py", "_private_stage"),  # below its scratch
        ("storage/open.py", "open_source"),
        ("storage/open.py", "open_store"),
        ("storage/s3/source.py", "__init__"),  # the default
    }


@pytest.mark.parametrize("side", ["experiment", "production"])
def test_each_side_hands_over_every_option_of_its_section(tmp_path: Path, side: str) -> None:
    one = make(tmp_path)
    certificate(one.experiment)
    lines = "".join(f"{key} = {value}\n" for key, value in STORE_SIDE.items())
    text = (one.experiment / "settings.ini").read_text()
    if side == "production":
        text = text.replace("[production]\n", f"[production]\n{lines}")
    else:
        text = f"[experiment]\nKMS_KEY = {KEY}\n{lines}{text}"
    (one.experiment / "settings.ini").write_text(text)
    settings = read_settings(one.experiment)
    opened: Any = (
        open_in_store(settings, "s3://b/p")
        if side == "experiment"
        else open_in_production(settings, "s3://b/p")
    )
    assert isinstance(opened, S3Store if side == "experiment" else S3Source)
    access = opened.clients.access
    assert access.endpoint_url == STORE_SIDE["S3_ENDPOINT_URL"]
    assert access.profile == STORE_SIDE["AWS_PROFILE"]
    assert access.role_arn == STORE_SIDE["ASSUME_ROLE_ARN"]
    assert access.ca_bundle == one.experiment / "ca.pem"
    assert opened.clients.kms_key == (KEY if side == "experiment" else None)


# --- on a real server ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloud:
    """Production, the store and the model in buckets; the experiment beside them."""

    tiny: Tiny
    server: S3Server
    documents: str
    store: str
    environment: Mapping[str, str]

    def handful(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HANDFUL, *words], capture_output=True, text=True, check=False, env=self.environment
        )


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    tiny = make(folder / "tiny", artifacts=30)
    cert = certificate(folder)
    nobodies = [Login("for-research", "research-secret"), Login("for-production", "prod-secret")]
    identities = servers._identities

    def with_nobodies(directory: Path, *known: Login) -> Path:
        path = identities(directory, *known)
        found = json.loads(path.read_text())
        for one in nobodies:
            keys = {"accessKey": one.access_key, "secretKey": one.secret_key}
            found["identities"].append(
                {"name": one.access_key, "credentials": [keys], "actions": ["Read:nowhere"]}
            )
        path.write_text(json.dumps(found))
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "_identities", with_nobodies)
        with running_s3(roles=True) as server, tls_proxy(server.endpoint_url, cert) as address:
            documents, store = server.place("handful-production"), server.place()
            _upload(server, tiny.files, documents)
            _upload(server, tiny.root / "model", f"{store}/models/tiny")
            config = folder / "config"
            config.write_text(
                "".join(
                    f"[profile {one.access_key}]\naws_access_key_id = {one.access_key}\n"
                    f"aws_secret_access_key = {one.secret_key}\nregion = us-east-1\n"
                    for one in nobodies
                )
            )
            kept = {name: v for name, v in os.environ.items() if not name.startswith("AWS_")}
            environment = {
                **kept,
                "OMP_NUM_THREADS": "1",
                "AWS_CONFIG_FILE": str(config),
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ENDPOINT_URL_STS": address,
                "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",  # where nobody is
                "AWS_MAX_ATTEMPTS": "1",
            }
            _settings(tiny, address, documents, store, cert.ca)
            yield Cloud(tiny, server, documents, store, environment)


def _upload(server: S3Server, folder: Path, place: str) -> None:
    bucket, _, prefix = place[5:].partition("/")
    client = server.client()
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def _settings(tiny: Tiny, address: str, documents: str, store: str, ca: Path) -> None:
    tiny.settings(FILES_URL=documents, MODEL_NAMES=f"{store}/models/tiny", EPOCHS="1")
    functions = tiny.experiment / "functions.py"
    text = functions.read_text()
    text = text.replace('Path(model_name, "vocab.txt")', f'Path("{tiny.root}/model/vocab.txt")')
    functions.write_text(text.replace(', "labels": label2id[label]}', "}"))  # predict has none

    def side(profile: str, name: str) -> str:
        return (
            f"S3_ENDPOINT_URL = {address}\nAWS_PROFILE = {profile}\n"
            f"ASSUME_ROLE_ARN = {role(name)}\nCA_BUNDLE = {ca}\n"
        )

    text = (tiny.experiment / "settings.ini").read_text()
    text = text.replace("[production]\n", f"[production]\n{side('for-production', 'reads')}")
    mine = side("for-research", "writes")
    (tiny.experiment / "settings.ini").write_text(
        f"[experiment]\nSTORE = {store}\nKMS_KEY = {KEY}\n{mine}{text}"
    )


@pytest.fixture(scope="module")
def finished(cloud: Cloud) -> Cloud:
    """`check` and `run`: reconcile, workers that encode, train and test, a model of a bucket."""
    first = cloud.handful("check", str(cloud.tiny.experiment))
    assert first.returncode == 0, first.stdout + first.stderr
    done = cloud.handful("run", str(cloud.tiny.experiment))
    assert done.returncode == 0, done.stdout + done.stderr
    return cloud


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_was_written_has_the_key(finished: Cloud) -> None:
    """By this process, by its workers, and by process_func's own path."""
    client = finished.server.client()
    bucket, _, prefix = finished.store[5:].partition("/")
    prefix += "/EXP-0001-tiny/"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [one["Key"] for page in pages for one in page["Contents"]]
    used = {client.head_object(Bucket=bucket, Key=key).get("SSEKMSKeyId") for key in keys}
    assert used == {KEY}
    assert f"{prefix}data/reconciled_artifacts/artifact-0000/label.json" in keys
    assert any(key.endswith("final/model.safetensors") for key in keys)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_other_command_finds_its_way(finished: Cloud) -> None:
    experiment = str(finished.tiny.experiment)
    other = finished.tiny.root / "EXP-0002-tiny"
    shutil.copytree(experiment, other)
    borrowed = "prepare.SPLIT_FROM=EXP-0001-tiny"
    for words, told in (
        (("status", experiment), "up to date"),
        (("check", experiment), "a file of one was read"),
        (("run", experiment, "--refresh"), "production since"),
        (("report", experiment), "up to date"),
        (("predict", experiment, f"{finished.documents}/artifact-0000"), '"artifact-0000"'),
        (("predict", experiment, finished.documents), '"artifact-0029"'),
        (("run", str(other), "--set", borrowed, "--until", "compare"), "placed as in EXP-0001"),
        (("compare", experiment, str(other), "--json"), '"comparison"'),
    ):
        done = finished.handful(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert told in done.stdout, (words, done.stdout, done.stderr)
        assert '"error": "' not in done.stdout


OPTIONS = ("S3_ENDPOINT_URL", "AWS_PROFILE", "ASSUME_ROLE_ARN", "CA_BUNDLE")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("side", ["experiment", "production"])
def test_without_any_of_them_nothing_goes(finished: Cloud, side: str, option: str) -> None:
    """So the commands above did hand them over."""
    without = ("--set", f"{side}.{option}=")
    words = ("status",) if side == "experiment" else ("predict",)
    paths = () if side == "experiment" else (f"{finished.documents}/artifact-0000",)
    done = finished.handful(*words, str(finished.tiny.experiment), *paths, *without)
    assert done.returncode == 1, done.stdout + done.stderr
    if option == "CA_BUNDLE":
        assert "certificate" in done.stderr
        assert "CA_BUNDLE" in done.stderr
