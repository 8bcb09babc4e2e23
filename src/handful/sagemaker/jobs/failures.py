"""What to do about the usual reasons for which jobs fail, by the words in which AWS says them.

A reason is SageMaker's own, or what the container left (`AlgorithmError: …`, or the ExitMessage of
a processing job). In a container anybody may speak, the user's functions too: there only words that
nobody else uses count, such as an exit code or an error's full name. Words are compared with their
boundaries and as they are written: `kms:Decrypt` has nothing to do with ECR.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class _Usual:
    """One cause: how SageMaker says it, how a container does (empty: never), and what to do."""

    told: str
    by_container: str
    remedy: str

    def is_in(self, reason: str, *, container: bool) -> bool:
        words = self.by_container if container else self.told
        return bool(words) and re.search(words, reason) is not None


def _action_denial_pattern(service: str) -> str:
    """How AWS names an action that is not allowed: `ecr:BatchGetImage`, never `arn:aws:ecr:…`."""
    return rf"\b{service}:[A-Z]\w+"


_CALL = r"An error occurred \((?:{})\) when calling the \w+ operation"
"""botocore's own sentence."""
_CAPACITY = _Usual(
    r"\bCapacityError\b|\bInsufficient(?:Instance)?Capacity\w*|\bEC2InsufficientCapacityError\b"
    r"|Unable to provision requested ML compute capacity|Insufficient capacity error from EC2",
    "",
    "no instance of this type was free: name several in TRAIN_INSTANCE_TYPE, or try again",
)
_QUOTA = _Usual(
    r"\bResourceLimitExceeded\b|\baccount-level service limit\b|\bServiceQuotaExceeded\w*",
    "",
    "ask AWS for a higher quota of this instance type (Service Quotas, SageMaker)",
)
_USUAL = (
    _CAPACITY,
    _QUOTA,
    _Usual(
        rf"{_action_denial_pattern('sts')}|{_action_denial_pattern('iam')}"
        r"|\b(?:[Cc]ould not|[Uu]nable to|[Ff]ailed to) assume"
        r"(?: the)? role\b",
        "",
        "let SageMaker assume [sagemaker] ROLE_ARN (its trust policy names "
        "sagemaker.amazonaws.com), and let your identity pass it (iam:PassRole)",
    ),
    _Usual(
        r"\bexec format error\b|executable file not found|\bCannotStartContainer(?:Error)?\b",
        r"exec format error, exit code",
        "the image cannot be started: build it by `handful image build`, for the processor of the "
        "instance type (linux/amd64, but for ml.*g types)",
    ),
    _Usual(
        rf"\bCannotPullContainer(?:Error)?\b|{_action_denial_pattern('ecr')}"
        r"|\bCannot (?:pull|find) (?:the )?"
        r"(?:requested |algorithm )?(?:image|container)\b|\bRequested image not found\b"
        r"|\bmanifest (?:for \S+ )?(?:unknown|not found)\b|\bThe repository of your image\b",
        _action_denial_pattern("ecr"),
        "check [sagemaker] IMAGE_URI, and that the role may pull from that repository",
    ),
    _Usual(
        _action_denial_pattern("secretsmanager"),
        _action_denial_pattern("secretsmanager"),
        "let the role read the entries of [sagemaker] SECRETS (secretsmanager:GetSecretValue)",
    ),
    _Usual(
        rf"{_action_denial_pattern('kms')}|\bKMS\b|\bKMS[A-Z]\w+"
        r"|\brefers to a customer master key\b",
        rf"{_action_denial_pattern('kms')}|\bKMS\.\w+Exception\b"
        r"|\brefers to a customer master key\b",
        "let the role use the key of KMS_KEY (kms:Decrypt, kms:GenerateDataKey)",
    ),
    _Usual(
        rf"{_action_denial_pattern('ec2')}",
        "",
        "let the role make network interfaces in the VPC: `handful aws bootstrap EXP --print` "
        "shows the statement",
    ),
    _Usual(
        r"\bS3 VPC endpoint\b|\bUnable to execute request to S3\b|\bEndpointConnectionError\b"
        r"|\bCould not connect to the endpoint URL\b|\bConnect timeout on endpoint URL\b",
        r"\bCould not connect to the endpoint URL\b|\bConnect timeout on endpoint URL\b",
        "a private subnet needs an S3 endpoint, and one for each other service that is asked",
    ),
    _Usual(
        r"\bInvalidSubnet(?:ID)?\b|\bInvalidSecurityGroup\w*|\bInvalidGroup\.NotFound\b"
        r"|\b[Ss]ubnet(?:s| ID)?\b|\b[Ss]ecurity ?[Gg]roups?\b",
        "",
        "look at [sagemaker] SUBNETS and SECURITY_GROUPS: they have to be there, of one VPC, and "
        "have a free address for each instance",
    ),
    _Usual(
        r"\bPermanentRedirect\b|\bbucket is in this region\b|\bspecified endpoint\b",
        _CALL.format("PermanentRedirect|IllegalLocationConstraintException"),
        "let the bucket and [sagemaker] REGION be of one region",
    ),
    _Usual(
        r"\bNo S3 objects found under S3 URL\b|\bNoSuchBucket\b|\bNoSuchKey\b",
        _CALL.format("NoSuchBucket"),
        "look whether it is still there, in REGION, and whether the role may list the bucket "
        "(s3:ListBucket)",
    ),
    _Usual(
        rf"\bAccess ?[Dd]enied(?:Exception)?\b|{_action_denial_pattern('s3')}"
        r"|\b[Nn]ot authorized to perform\b"
        r"|\bForbidden\b",
        _CALL.format(r"AccessDenied(?:Exception)?|403") + rf"|{_action_denial_pattern('s3')}",
        "let the role of ROLE_ARN read and write the experiment's STORE",
    ),
    _Usual(
        r"\bMax(?:Runtime|WaitTime)Exceeded\b",
        "",
        "raise [sagemaker] MAX_RUNTIME; a training goes on from its last checkpoint",
    ),
    _Usual(
        r"\bNo space left on device\b|\b[Dd]isk (?:is )?full\b|\binsufficient disk space\b"
        r"|\b(?:disk|storage) space\b",
        r"\bNo space left on device\b",
        "raise [sagemaker] VOLUME_SIZE_GB",
    ),
    _Usual(
        r"\binstance type with more memory\b|\bOutOf ?Memory(?:Error)?\b|\bexit code:? 137\b",
        r"\bexit code:? 137\b|\bOutOfMemoryError\b|\bCUDA out of memory\b|\bSIGKILL\b"
        r"|can't allocate memory",
        "the memory ran out: lower BATCH_SIZE, or take a larger instance type",
    ),
    _Usual(
        r"\bInternalServer(?:Error|Exception)\b|\bInternalFailure\b|\bServiceUnavailable\w*"
        r"|\bencountered an internal error\b",
        "",
        "this is SageMaker's own trouble: run again; if it stays, ask AWS's support",
    ),
    _Usual(
        r"\bThrottling(?:Exception)?\b|\bRate exceeded\b",
        _CALL.format(r"Throttling(?:Exception)?|SlowDown"),
        "run again in a while",
    ),
)
_CONTAINER = re.compile(r"\s*AlgorithmError\b")
_ADVISED = "What to do: "
"""A container of ours has said it already."""


def remedy_for(reason: str, *, container: bool = False) -> str:
    """What to do about it; empty if the reason is none of the usual, or tells it itself.

    `container`: it is the container's even without SageMaker's `AlgorithmError:` before it.
    """
    if _ADVISED in reason:
        return ""
    by_container = container or bool(_CONTAINER.match(reason))
    found = (one.remedy for one in _USUAL if one.is_in(reason, container=by_container))
    return next(found, "")


def is_no_room(reason: str) -> bool:
    """Is it that no instance of the type could be had, so that another type may help?"""
    if _CONTAINER.match(reason):
        return False
    return any(one.is_in(reason, container=False) for one in (_CAPACITY, _QUOTA))
