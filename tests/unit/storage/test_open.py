"""What a URL opens, without asking anyone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handful.errors import UserError
from handful.storage.open import open_source, open_store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("/some/where", "/some/where"),
        ("/some/where/", "/some/where"),
        ("file:///some/wh%20ere", "/some/wh ere"),
        ("relative", str(Path.cwd() / "relative")),
        ("~/there", str(Path.home() / "there")),
    ],
)
def test_urls_that_open(url: str, shown: str) -> None:
    assert open_store(url).url == shown
    assert open_source(url).url == shown


@pytest.mark.parametrize("url", ["gs://b", "https://h/p", "ftp://u:secret@h/p", "", " "])
def test_other_kinds_are_refused_with_what_is_supported(url: str) -> None:
    for open_it in (open_store, open_source):
        with pytest.raises(UserError, match="s3://bucket/prefix") as caught:
            open_it(url)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///prefix", "s3://b//p", "s3://b/../c", "s3://k:secret@b/p", "s3://b?x=1"]
)
def test_s3_urls_that_are_none(url: str) -> None:
    with pytest.raises(UserError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_a_file_of_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match="another machine"):
        open_source("file://host/path")


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "ftp://h", "http://", "http://u:secret@h", "http://["]
)
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(UserError, match="S3_ENDPOINT_URL") as caught:
        open_store("s3://bucket", endpoint_url=endpoint)
    assert "secret" not in str(caught.value)


def test_opening_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from handful.storage.open import open_store\n"
        "from handful.labels.database import DatabaseLabels\n"
        "open_store('s3://bucket/prefix'), open_store('relative'), DatabaseLabels('a', 'b')\n"
        "heavy = {'obstore', 'boto3', 'botocore', 's3fs', 'sqlalchemy', 'torch', 'polars'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
