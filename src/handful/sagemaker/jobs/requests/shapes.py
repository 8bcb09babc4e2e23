"""A request held against the API's own description, before anything is sent: which key is at fault.

botocore looks at types, required and unknown members and least lengths; greatest ones, patterns and
choices stand in the same description, but are left to the server. Names of buckets have rules of
S3's own, which the description does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from handful.errors import UserError

OPEN = ("InstanceType",)
"""botocore lags behind new instance types, so these choices are not closed."""
_REQUEST = "the request to SageMaker"
_SHAPE_VALUE_LENGTH = 100
_JAVA = ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", " "), (r"\p{Alnum}", "0-9A-Za-z"))
_S3 = re.compile(r"s3://([^/]*)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OLD_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
"""Until 2018 a bucket of us-east-1 could be named so."""
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_KEYS = (
    # the end of a path in the request → the key that decides it
    (r"RoleArn", "[sagemaker] ROLE_ARN"),
    (r"(ImageUri|TrainingImage)", "[sagemaker] IMAGE_URI"),
    (r"(Volume)?KmsKeyId", "[experiment] KMS_KEY"),
    (r"Subnets(\[\d+\])?", "[sagemaker] SUBNETS"),
    (r"SecurityGroupIds(\[\d+\])?", "[sagemaker] SECURITY_GROUPS"),
    (r"VolumeSizeInGB", "[sagemaker] VOLUME_SIZE_GB"),
    (r"CreateProcessingJob\..*InstanceCount", "[sagemaker] PREPARE_INSTANCE_COUNT"),
    (r"InstanceCount", "[sagemaker] TRAIN_INSTANCE_COUNT"),
    (r"Max(Runtime|WaitTime)InSeconds", "[sagemaker] MAX_RUNTIME"),
    (r"KeepAlivePeriodInSeconds", "[sagemaker] KEEP_ALIVE"),
    (r"Tags(\[.*)?", "[sagemaker] TAGS"),
    (r"Environment.*HANDFUL_SECRET_.*", "[sagemaker] SECRETS"),
    (r"Environment.*HANDFUL_LOCAL_DATA.*", "[sagemaker] SAGEMAKER_LOCAL_DATA_DIR"),
    (r"Environment.*AWS_DEFAULT_REGION.*", "[sagemaker] REGION"),
    (r"Environment.*HANDFUL_ORIGIN_.*", "[train] MODEL_NAMES"),
    (r"MaxNumberOfTrainingJobs", "[tune] TRIALS"),
    (r"MaxParallelTrainingJobs", "[tune] PARALLEL"),
    (r"ParameterRanges\..*", "[tune]"),
    (r"RandomSeed", "[experiment] SEED"),
    (r"Metric(Name|Definitions.*)", "[train] METRIC"),
    (r"(S3Uri|S3OutputPath)", "[experiment] STORE"),
)


@dataclass(frozen=True)
class Wrong:
    """One parameter that would be refused."""

    where: str
    """`CreateTrainingJob.ResourceConfig.VolumeSizeInGB`."""
    what: str
    key: str = _REQUEST
    """`[sagemaker] VOLUME_SIZE_GB`, if a key of the settings decides it."""


def refuse(operation: str, parameters: Mapping[str, Any], region: str | None) -> None:
    """`UserError` with the first parameter that SageMaker would refuse, by its key."""
    for wrong in faults(operation, parameters, region):
        raise UserError(
            f"SageMaker would not take it: {wrong.what} ({wrong.where})",
            where=wrong.key,
            remedy="correct it; `handful run EXP --dry-run` shows the whole request",
        )


def faults(
    operation: str, parameters: Mapping[str, Any], region: str | None = None
) -> Iterator[Wrong]:
    """All that is wrong with a request. `region`: the jobs'; None: not known."""
    from botocore.validate import ParamValidator

    shape = _service().operation_model(operation).input_shape
    report = ParamValidator().validate(parameters, shape)
    if report.has_errors():
        what = " ".join(report.generate_report().split())
        yield Wrong(
            operation, what[: 3 * _SHAPE_VALUE_LENGTH], _key_of(f"{operation}.{_member(what)}")
        )
    for where, kind, value in _leaves(operation, shape, parameters):
        fault = _limits(where, kind, value) or _find_bucket_name_fault(value, region)
        if fault:
            yield Wrong(where, fault, _key_for(where, parameters, value))


@cache
def _service() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def _leaves(where: str, shape: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, shape, value) of everything in a request, from the outside in."""
    yield where, shape, value
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, one in value.items():
            if name in shape.members:
                yield from _leaves(f"{where}.{name}", shape.members[name], one)
    elif shape.type_name == "list" and isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _leaves(f"{where}[{number}]", shape.member, one)
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for name, one in value.items():
            yield f"{where}.{name}", shape.key, name
            yield from _leaves(f"{where}.{name}", shape.value, one)


def _limits(where: str, shape: Any, value: Any) -> str:
    is_number = isinstance(value, int | float)
    if not is_number and not hasattr(value, "__len__"):
        return ""  # of another type, which botocore has told
    size = value if is_number else len(value)
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        unit = "" if is_number else " letters" if isinstance(value, str) else " of them"
        return f"{size:,}{unit}, and {_between(low, high)} are allowed"
    if isinstance(value, str):
        pattern, choices = shape.metadata.get("pattern"), shape.metadata.get("enum")
        if pattern and not re.fullmatch(_python(pattern), value):
            return f"{value[:_SHAPE_VALUE_LENGTH]!r} is not of the form {pattern}"
        if choices and value not in choices and not where.endswith(OPEN):
            return f"{value!r} is none of {', '.join(choices[:10])}"
    return ""


def _between(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high:,}"
    return f"at least {low:,}" if high is None else f"{low:,} to {high:,}"


def _find_bucket_name_fault(value: Any, region: str | None) -> str:
    match = _S3.match(value) if isinstance(value, str) else None
    fault = bucket_fault(match[1], region) if match else ""
    return f"{match[1]!r} is no name of a bucket: {fault}" if match and fault else ""


def bucket_fault(name: str, region: str | None = None) -> str:
    """What is wrong with the name of a bucket; empty if there may be such a one in the region."""
    if not 3 <= len(name) <= 255:
        return "it has 3 to 63 letters"
    if _ADDRESS.fullmatch(name):
        return "it is no IP address"
    if _BUCKET.fullmatch(name):
        return "two dots stand together" if ".." in name else ""
    if _OLD_BUCKET.fullmatch(name) and region in (None, "us-east-1"):
        return ""
    return "it has 3 to 63 of a-z, 0-9, - and ., and begins and ends with a letter or digit"


def _python(pattern: str) -> str:
    for theirs, ours in _JAVA:
        pattern = pattern.replace(theirs, ours)
    return pattern


def _member(report: str) -> str:
    """The member that botocore's words name."""
    found = re.search(r"parameter (\S+?),", report)
    return found[1] if found else ""


def _key_for(where: str, parameters: Mapping[str, Any], value: Any) -> str:
    own = [one for one in parameters.get("Environment", {}).values() if str(one).startswith("s3:")]
    if isinstance(value, str) and any(value.startswith(one.rstrip("/")) for one in own):
        return "[train] MODEL_NAMES"
    return _key_of(where)


def _key_of(where: str) -> str:
    found = (key for end, key in _KEYS if re.search(rf"(^|\.){end}$", where))
    return next(found, _REQUEST)
