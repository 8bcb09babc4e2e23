"""What to do about the usual reasons for which jobs fail, by the words that SageMaker uses."""

from __future__ import annotations

import re

_USUAL = (
    (
        r"CapacityError|insufficient capacity|unable to provision",
        "no instance of this type was free: name several in TRAIN_INSTANCE_TYPE, or try again",
    ),
    (
        r"ResourceLimitExceeded|service limit|quota",
        "ask AWS for a higher quota of this instance type (Service Quotas, SageMaker)",
    ),
    (
        r"(?:not|unable to) assume|sts:AssumeRole|iam:PassRole",
        "let SageMaker assume [sagemaker] ROLE_ARN (its trust policy names "
        "sagemaker.amazonaws.com), and let your identity pass it (iam:PassRole)",
    ),
    (
        r"CannotPullContainer|image.*(?:not found|does not exist)|ECR",
        "check [sagemaker] IMAGE_URI, and that the role may pull from that repository",
    ),
    (
        r"KMS|kms:",
        "let the role use the key of KMS_KEY (kms:Decrypt, kms:GenerateDataKey)",
    ),
    (
        r"(?:Access ?Denied|not authorized|AccessDeniedException)",
        "let the role of ROLE_ARN read and write the experiment's STORE",
    ),
    (
        r"timed out|could not connect|Network|subnet|EndpointConnection",
        "a private subnet needs an S3 endpoint, and one for each other service that is asked",
    ),
    (
        r"MaxRuntimeExceeded|MaxWaitTimeExceeded|exceeded.*(?:runtime|wait time)",
        "raise [sagemaker] MAX_RUNTIME; a training goes on from its last checkpoint",
    ),
    (
        r"exit code:? 137|OutOfMemory|out of memory|SIGKILL",
        "the memory ran out: lower BATCH_SIZE, or take a larger instance type",
    ),
)
_NO_ROOM = re.compile(_USUAL[0][0] + "|" + _USUAL[1][0], re.IGNORECASE)


def remedy_for(reason: str) -> str:
    """What to do about it; empty if the reason is none of the usual."""
    for pattern, remedy in _USUAL:
        if re.search(pattern, reason, re.IGNORECASE):
            return remedy
    return ""


def is_no_room(reason: str) -> bool:
    """Is it that no instance of the type could be had, so that another type may help?"""
    return bool(_NO_ROOM.search(reason)) and "exit code" not in reason.lower()
