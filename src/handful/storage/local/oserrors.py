"""Tells a local file system's errors apart: absent, denied, full, unreachable, too many."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from handful.errors import Absent, Denied, Full, OutOfResources, StepError, StoreError, Unreachable
from handful.errors.exceptions import shortage

_ERRNOS_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_ERRNOS_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_ERRNOS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# A network file system that went away.
_UNREACHABLE = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOTCONN,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
}


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn an OSError of the body into the store's own; what is not there is `Absent`."""
    try:
        yield
    except OSError as error:
        raise translate_os_error(
            error, where, f"cannot be read: {_describe_os_error(error)}"
        ) from error


@contextmanager
def writing(where: str) -> Iterator[None]:
    """The same for a write, where a part of the path that is a file is no absence but a clash."""
    try:
        yield
    except OSError as error:
        if error.errno in _ERRNOS_ABSENT | {errno.EEXIST}:
            raise StoreError(
                f"cannot be written: {_describe_os_error(error)}",
                where=where,
                remedy="a file stands where a folder should be, or a folder where a file should",
            ) from error
        raise translate_os_error(
            error, where, f"cannot be written: {_describe_os_error(error)}"
        ) from error


def translate_os_error(error: OSError, where: str, what: str) -> StepError:
    """The store's error for `error`: its class by errno, its message from `what`.

    `OutOfResources` is none of the store's: the file is no more to blame than any other.
    """
    short = shortage(error)
    if isinstance(short, OutOfResources) and error.errno != errno.EFBIG:
        return OutOfResources(short.fault.what, where=where, remedy=short.fault.remedy)
    number = error.errno
    if number in _ERRNOS_ABSENT:
        return Absent("is not there", where=where)
    if number in _ERRNOS_DENIED:
        return Denied(what, where=where, remedy="check its owner, permissions and mount")
    if number in _ERRNOS_FULL:
        return Full(what, where=where, remedy="free some room, or point STORE somewhere else")
    if number in _UNREACHABLE:
        return Unreachable(what, where=where, remedy="is the file system still mounted?")
    if number == errno.ENAMETOOLONG:
        return StoreError(
            "the name is longer than this file system allows",
            where=where,
            remedy="most allow 255 bytes a name and 4,096 a path; an S3 store takes 1,024 a key",
        )
    return StoreError(what, where=where)


def _describe_os_error(error: OSError) -> str:
    return error.strerror or str(error)
