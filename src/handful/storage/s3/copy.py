"""Copies an object on the server's side, within a bucket and across buckets.

Across buckets obstore goes a way that its documentation does not know (see
`Clients.server_store`). So the first copy of each pair of buckets is looked at where it should
have arrived; if it is not there as it should be, boto3 does this and all others, at about half the
pace. Objects too large for one request (5 GiB on AWS) are copied by boto3 in parts.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from handful.errors import Absent, StoreError, Unreachable
from handful.storage.s3.clients import Clients
from handful.storage.s3.errors import answer_of, asking, is_too_large, translate_s3_answer

if TYPE_CHECKING:
    from obstore.store import S3Store as Obstore

FIRSTS = 4
"""After so many first copies that nobody answered, the way itself may be at fault."""


REFUSED = 400


class NoCopyInParts(StoreError):
    """The server cannot copy an object in parts, which one request cannot copy, either."""


class Job(NamedTuple):
    """One copy: full keys in the two buckets."""

    source_key: str
    key: str


class ServerCopy:
    """Copies from one bucket to another (or the same) of one server, as one principal."""

    def __init__(self, source: Clients, target: Clients) -> None:
        self._source = source
        self._target = target
        self._same = source.bucket == target.bucket
        self._trusted: bool | None = True if self._same else None
        self._unanswered = 0
        self._lock = threading.Lock()

    def copy(self, source_key: str, key: str) -> None:
        """Copy the object, replacing what is at `key`; both are full keys of their buckets."""
        job = Job(source_key, key)
        if self._trusted is None:
            with self._lock:
                if self._trusted is None:
                    self._trusted = self._first(job)
                    return
        if self._trusted:
            self._by_obstore(job)
        else:
            self._by_boto(job)

    def try_out(self, source_key: str, size: int, probe: str) -> None:
        """Make the first copy to `probe`, where nothing ever was, and remove it.

        `size`: of the original, as a listing said just now.
        """
        if self._trusted is not None:
            return
        job = Job(source_key, probe)
        try:
            with self._lock:
                self._trusted = self._arrives(job, size) or self._first(job)
        finally:
            self._target.deleter.delete_one(probe)

    def _arrives(self, job: Job, size: int) -> bool:
        """Does a copy to where nothing was arrive there? Whatever is wrong, `_first` finds out."""
        try:
            self._by_obstore(job)
            new = self._entry_or_none(job.key)
        except StoreError:
            return False
        return new is not None and new[0] == size

    def _first(self, job: Job) -> bool:
        """Copy, look whether it arrived, and say whether obstore may go on."""
        with ThreadPoolExecutor(1) as other:
            looked = other.submit(self._entry_or_none, job.key)
            original = self._entry(self._source, job.source_key)
            old = looked.result()
        try:
            self._by_obstore(job)
            new = self._entry_or_none(job.key)
        except Unreachable:
            self._unanswered += 1
            if self._unanswered < FIRSTS:
                raise  # it says nothing about this way; the next copy is the first again
            new = None
        except StoreError:
            new = None  # if the fault is not this way's, boto3 meets and tells it below
        # Where something stood before, only an equal etag says that it was replaced. (One that is
        # encrypted by KMS never has the original's; then boto3 goes on.)
        if new and new[0] == original[0] and (old is None or new == original):
            return True
        self._by_boto(job)
        return False

    @cached_property
    def _way(self) -> tuple[Obstore, str]:
        """The store that copies, and what it wants before the destination's key."""
        if self._same:
            return self._target.bucket_store(patient=False), ""
        return self._source.server_store(self._target.kms_key), f"{self._target.bucket}/"

    def _by_obstore(self, job: Job) -> None:
        import obstore
        from obstore.exceptions import BaseError

        store, before = self._way
        try:
            obstore.copy(store, job.source_key, before + job.key)
        except (BaseError, FileNotFoundError) as error:
            if is_too_large(error):
                self._by_boto(job)
                return
            raise self._translate_copy_error(error, job) from None

    def _by_boto(self, job: Job) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._target.boto().copy(
                {"Bucket": self._source.bucket, "Key": job.source_key},
                self._target.bucket,
                job.key,
                ExtraArgs=self._target.extra,
                SourceClient=self._source.boto(),
            )
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise self._translate_copy_error(error, job) from None
        except KeyError as error:  # boto3 meets an answer without the part's ETag
            raise NoCopyInParts(
                f"this server copies no parts: its answer has no {error}",
                where=f"s3://{self._target.bucket}/{job.key}",
            ) from None

    def _translate_copy_error(self, error: Exception, job: Job) -> Exception:
        """The store's error; an absence is looked into, since the answer does not say whose."""
        answer = answer_of(error)
        if answer is None:
            return error
        source = f"s3://{self._source.bucket}/{job.source_key}"
        found = translate_s3_answer(
            answer, f"{source} -> s3://{self._target.bucket}/{job.key}", self._target.bucket
        )
        if isinstance(found, Absent) and answer.code != "NoSuchBucket":
            self._entry(self._source, job.source_key)  # raises, and names the source
        if answer.status == REFUSED:
            self._read(job.source_key)  # raises, if the object cannot be read, and says why
        return found

    def _read(self, key: str) -> None:
        """Begin to read the original; the answer to a copy, or to a HEAD, says less."""
        import obstore

        with asking(f"s3://{self._source.bucket}/{key}", self._source.bucket):
            obstore.get(self._source.bucket_store(), key)

    def _entry_or_none(self, key: str) -> tuple[int, str | None] | None:
        try:
            return self._entry(self._target, key)
        except Absent:
            return None

    def _entry(self, clients: Clients, key: str) -> tuple[int, str | None]:
        import obstore

        with asking(f"s3://{clients.bucket}/{key}", clients.bucket):
            found = obstore.head(clients.bucket_store(), key)
        return found["size"], found["e_tag"]
