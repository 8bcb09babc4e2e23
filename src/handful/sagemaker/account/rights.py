"""What jobs, and the person who starts them, have to be allowed: the least that does the work.

The same list becomes the policies of `handful aws bootstrap`, and what `handful check` asks AWS to
simulate. Resources are ARNs in which `${AWS::Partition}`, `${AWS::Region}` and `${AWS::AccountId}`
stand for what only the account knows, as CloudFormation writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handful.sagemaker.account.places import (
    Folder,
    ecr_image,
    file_bucket_folders,
    model_folders,
    production_folder,
    store_folder,
)
from handful.settings import Settings

ROLE = "${JobRole.Arn}"
"""The jobs' role, in a template."""
_S3_READ_ACTIONS = ("s3:GetObject",)
_WRITE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
_NEVER = ("s3:Put*", "s3:Delete*", "s3:Replicate*", "s3:Restore*", "s3:AbortMultipartUpload")
_HERE = "${AWS::Region}:${AWS::AccountId}"
_LOGS = f"arn:${{AWS::Partition}}:logs:{_HERE}:log-group:/aws/sagemaker/*"
_READ_LOGS = ("logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents")
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
_PUSH = (
    "ecr:CompleteLayerUpload",
    "ecr:DescribeImages",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
# SageMaker puts network interfaces of the jobs into the VPC with the role's own rights.
_VPC_NETWORK_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
_JOBS = (
    *(
        f"sagemaker:{verb}{job}"
        for job in ("ProcessingJob", "TrainingJob", "HyperParameterTuningJob")
        for verb in ("Create", "Describe", "Stop")
    ),
    "sagemaker:AddTags",
    "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
)


@dataclass(frozen=True)
class Right:
    """Some actions on some resources."""

    name: str
    """Letters and digits: a statement's id."""
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: Mapping[str, Any] = field(default_factory=dict)
    allowed: bool = True
    """False: never, whatever else is attached."""

    def statement(self, resources: Any = None) -> dict[str, Any]:
        """As a policy has it; `resources` in place of its own."""
        return {
            "Sid": self.name,
            "Effect": "Allow" if self.allowed else "Deny",
            "Action": list(self.actions),
            "Resource": list(self.resources) if resources is None else resources,
            **({"Condition": dict(self.condition)} if self.condition else {}),
        }


def rights_of_jobs(settings: Settings) -> tuple[Right, ...]:
    """What the role of the jobs needs, and nothing else. `UserError` if STORE is not on S3."""
    store, production = store_folder(settings), production_folder(settings)
    found = [*_folder_rights("Store", store, _WRITE)]
    read_only = {"Production": production} if production else {}
    read_only |= {f"FileBucket{n}": one for n, one in enumerate(file_bucket_folders(settings))}
    for name, folder in read_only.items():
        found += _folder_rights(name, folder, _S3_READ_ACTIONS)
        if not folder.holds(store):
            never = Right(f"{name}IsReadOnly", _NEVER, (_objects(folder),), allowed=False)
            found.append(never)
    for number, model in enumerate(model_folders(settings)):
        found += _folder_rights(f"Model{number}", model, _S3_READ_ACTIONS)
    found += [
        Right(
            "Logs",
            ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
            (_LOGS,),
        ),
        Right(
            "Metrics",
            ("cloudwatch:PutMetricData",),
            ("*",),
            {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
        ),
        Right("ImageLogin", ("ecr:GetAuthorizationToken",), ("*",)),
        Right("ImagePull", _PULL, (_repository(settings),)),
    ]
    secrets = settings.sagemaker.SECRETS
    if secrets:
        arns = tuple(sorted(set(secrets.values())))
        found.append(Right("Secrets", ("secretsmanager:GetSecretValue",), arns))
    if settings.sagemaker.SUBNETS:
        found.append(Right("Network", _VPC_NETWORK_ACTIONS, ("*",)))
    return (*found, *_key_rights(settings, ("kms:CreateGrant",)))


def rights_of_driver(settings: Settings, role: str = ROLE) -> tuple[Right, ...]:
    """What the person who runs handful needs; `role` is the ARN of the jobs' role."""
    sagemaker = f"arn:${{AWS::Partition}}:sagemaker:{_HERE}:"
    jobs = tuple(
        f"{sagemaker}{kind}/*"
        for kind in ("processing-job", "training-job", "hyper-parameter-tuning-job")
    )
    return (
        Right("Jobs", _JOBS, jobs),
        Right(
            "PassRole",
            ("iam:PassRole",),
            (role,),
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
        Right("LookAtRole", ("iam:GetRole", "iam:SimulatePrincipalPolicy"), (role,)),
        *_folder_rights("Store", store_folder(settings), _WRITE),
        Right("Logs", _READ_LOGS, (_LOGS,)),
        Right(
            "Look",
            (
                "ecr:GetAuthorizationToken",
                "ec2:DescribeRouteTables",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcEndpoints",
                "pricing:GetProducts",
                "servicequotas:ListServiceQuotas",
            ),
            ("*",),
        ),
        Right("Image", (*_PULL, *_PUSH), (_repository(settings),)),
        *_key_rights(settings, ()),
    )


def _folder_rights(name: str, folder: Folder, actions: tuple[str, ...]) -> tuple[Right, ...]:
    """Listing the folder alone, and `actions` on what lies in it."""
    bucket = f"arn:${{AWS::Partition}}:s3:::{folder.bucket}"
    inside: dict[str, Any] = {}
    if folder.prefix:
        wanted = [folder.prefix, folder.pattern]
        inside = {"StringLike": {"s3:prefix": wanted}}
    return (
        Right(f"{name}List", ("s3:ListBucket",), (bucket,), inside),
        Right(f"{name}Bucket", ("s3:GetBucketLocation",), (bucket,)),
        Right(f"{name}Objects", actions, (_objects(folder),)),
    )


def _objects(folder: Folder) -> str:
    return f"arn:${{AWS::Partition}}:s3:::{folder.bucket}/{folder.pattern}"


def _repository(settings: Settings) -> str:
    image = ecr_image(settings.sagemaker.IMAGE_URI)
    place = f"{image.region}:{image.account}" if image else _HERE
    return f"arn:${{AWS::Partition}}:ecr:{place}:repository/{repository_name(settings)}"


def repository_name(settings: Settings) -> str:
    """Of IMAGE_URI, or the one that bootstrap makes."""
    image = ecr_image(settings.sagemaker.IMAGE_URI)
    return image.repository if image else "handful"


def _key_rights(settings: Settings, more: tuple[str, ...]) -> tuple[Right, ...]:
    key = settings.experiment.KMS_KEY
    if not key:
        return ()
    actions = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey", *more)
    if key.startswith("arn:") and ":key/" in key:
        return (Right("Key", actions, (key,)),)
    if key.startswith(("alias/", "arn:")):
        # A policy cannot name a key by its alias; this condition can.
        alias = key[key.index("alias/") :]
        only = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}
        every = f"arn:${{AWS::Partition}}:kms:{_HERE}:key/*"
        return (Right("Key", actions, (every,), only),)
    return (Right("Key", actions, (f"arn:${{AWS::Partition}}:kms:{_HERE}:key/{key}",)),)
