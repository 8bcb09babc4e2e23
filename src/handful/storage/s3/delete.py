"""Deletes objects, together where the server can: one by one where it has no DeleteObjects.

obstore knows only DeleteObjects, and takes the answer that there is no such thing for an outage.
So the first time it is tried with little patience, and a single object is deleted by boto3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handful.errors import Unreachable
from handful.storage import retry, tree
from handful.storage.s3.errors import answer_of, asking, lacks_operation

if TYPE_CHECKING:
    from handful.storage.s3.clients import Clients


class Deleter:
    """Deletes in the bucket of `clients`; what is absent is passed over."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._has_bulk: bool | None = None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete full keys of the bucket, at most as many as one request may name (1,000)."""
        if len(keys) > 1 and self._has_bulk is not False and self._together(keys):
            return
        tree.each(self.delete_one, keys)

    def delete_one(self, key: str) -> None:
        """Delete one full key."""
        clients = self._clients

        def delete() -> None:
            with asking(f"s3://{clients.bucket}/{key}", clients.bucket):
                clients.single_try().delete_object(Bucket=clients.bucket, Key=key)

        retry.patiently(delete, known=clients.answered)

    def _together(self, keys: Sequence[str]) -> bool:
        """In one request; False if the server has none of that kind."""
        try:
            self._ask(keys, hasty=self._has_bulk is None)
        except Unreachable:
            if self._has_bulk:
                raise
            self._ask(keys, hasty=False)  # it was no more than impatience
        return self._has_bulk is not False

    def _ask(self, keys: Sequence[str], *, hasty: bool) -> None:
        import obstore

        clients = self._clients
        store = clients.hasty_store() if hasty else clients.bucket_store()
        with asking(f"s3://{clients.bucket}", clients.bucket):
            try:
                obstore.delete(store, list(keys))
            except Exception as error:
                answer = answer_of(error)
                if answer is None or not lacks_operation(answer):
                    raise
                self._has_bulk = False
            else:
                self._has_bulk = True
