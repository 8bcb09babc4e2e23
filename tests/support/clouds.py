"""moto's server on a port of the loopback: a control plane of AWS in small, over real HTTP."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

REGION = "eu-central-1"
ACCOUNT = "123456789012"
"""moto's."""


@contextmanager
def running_moto() -> Iterator[str]:
    """The server's URL; every service answers there, and all of it is gone in the end."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
            patch.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, os.devnull)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        try:
            yield url
        finally:
            # What moto holds belongs to the process, not to the server: the next test file that
            # the same process runs would find it.
            reset(url)
            server.stop()


def client(url: str, service: str, region: str = REGION) -> Any:
    """A client of the server, for arranging and checking."""
    import boto3

    return boto3.client(service, region_name=region, endpoint_url=url)


def reset(url: str) -> None:
    """Forget everything."""
    import urllib.request

    request = urllib.request.Request(f"{url}/moto-api/reset", method="POST")
    urllib.request.urlopen(request, timeout=10).close()
