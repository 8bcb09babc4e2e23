"""Are the buckets there, and in the jobs' region?"""

from __future__ import annotations

from collections.abc import Iterator

from handful.errors import Absent, Denied
from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, fine, trouble, unknown
from handful.sagemaker.account.places import Folder


def bucket_findings(clients: Clients, what: str, folder: Folder) -> Iterator[Finding]:
    """`what` says whose bucket it is. A job's channels have to lie in the job's region."""
    try:
        with told(f"HeadBucket {folder.bucket}"):
            answer = clients.of("s3").head_bucket(Bucket=folder.bucket)
    except Absent:
        remedy = "`handful aws bootstrap EXP` makes the STORE's bucket; or correct its name"
        yield trouble(what, f"there is no bucket {folder.bucket}", remedy)
        return
    except Denied:
        remedy = "it may be another's: check its name; the jobs' role may still reach it"
        yield unknown(what, f"you may not see the bucket {folder.bucket}", remedy)
        return
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = answer.get("BucketRegion") or headers.get("x-amz-bucket-region")
    if region and region != clients.region:
        found = f"{folder.bucket} lies in {region}, the jobs run in {clients.region}"
        yield trouble(what, found, f"write [sagemaker] REGION = {region}, or use another bucket")
        return
    yield fine(what, f"{folder.bucket}{f' in {region}' if region else ''}")
