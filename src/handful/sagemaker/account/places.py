"""Where the settings' things lie on AWS: buckets and prefixes, and the image's repository."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handful.errors import UserError
from handful.settings import Settings

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9][a-z0-9._/-]*?)(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Folder:
    """A prefix of a bucket; the empty prefix is the whole bucket."""

    bucket: str
    prefix: str = ""

    @property
    def pattern(self) -> str:
        """All keys below it, as a policy writes them."""
        return f"{self.prefix}/*" if self.prefix else "*"

    def holds(self, other: Folder) -> bool:
        """Does `other` lie in it, or is it the same?"""
        inside = not self.prefix or f"{other.prefix}/".startswith(f"{self.prefix}/")
        return self.bucket == other.bucket and inside


@dataclass(frozen=True)
class Image:
    """An image in ECR, by the parts of its URI."""

    account: str
    region: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def registry(self) -> str:
        """The host to log in at."""
        end = ".cn" if self.region.startswith("cn-") else ""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com{end}"


def folder_of(url: str) -> Folder | None:
    """The folder of an `s3://` URL; None for any other place."""
    if not url.startswith("s3://"):
        return None
    bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
    return Folder(bucket, prefix) if bucket else None


def store_folder(settings: Settings) -> Folder:
    """Where all experiments of this STORE lie. `UserError` if that is not on S3."""
    found = folder_of(settings.experiment.STORE)
    if found is None:
        raise UserError(
            "jobs on SageMaker cannot reach this directory",
            where="[experiment] STORE",
            remedy="write s3://bucket/prefix",
        )
    return found


def production_folder(settings: Settings) -> Folder | None:
    """Production's files, if they are on S3."""
    return folder_of(settings.production.FILES_URL)


def file_bucket_folders(settings: Settings) -> tuple[Folder, ...]:
    """Where the keys of the database may lead beside `production_folder`."""
    found = (folder_of(url) for url in settings.production.FILE_BUCKETS)
    return tuple(one for one in found if one)


def model_folders(settings: Settings) -> tuple[Folder, ...]:
    """The folders of models that lie on S3."""
    found = (folder_of(name) for name in settings.train.MODEL_NAMES)
    return tuple(sorted({one for one in found if one}, key=lambda one: (one.bucket, one.prefix)))


def ecr_image(uri: str | None) -> Image | None:
    """The image of that URI; None if it is in no repository of ECR."""
    match = _IMAGE.fullmatch(uri or "")
    if match is None:
        return None
    tag = match["tag"] or (None if match["digest"] else "latest")
    return Image(match["account"], match["region"], match["repository"], tag, match["digest"])
