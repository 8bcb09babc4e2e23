"""The CloudFormation template of `handful aws bootstrap`: a pure function of the settings.

It makes the role of the jobs, a policy for the people who start them, and, unless they are there
already, the STORE's bucket and the image's repository. The bucket outlives the stack: data is
never removed with it.
"""

from __future__ import annotations

import re
from typing import Any

from handful.sagemaker.account.places import store_folder
from handful.sagemaker.account.rights import (
    Right,
    repository_name,
    rights_of_driver,
    rights_of_jobs,
)
from handful.settings import Settings

BUCKET, REPOSITORY, ROLE, POLICY = "Store", "Repository", "JobRole", "DriverPolicy"
_LONGEST_NAME = 128


def stack_name(settings: Settings) -> str:
    """One stack for each STORE: experiments that share a STORE share it."""
    folder = store_folder(settings)
    said = re.sub(r"[^A-Za-z0-9]+", "-", f"handful-{folder.bucket}-{folder.prefix}")
    return said[:_LONGEST_NAME].strip("-")


def template(settings: Settings, *, bucket: bool, repository: bool) -> dict[str, Any]:
    """The template; `bucket` and `repository` say whether the stack is to hold them.

    `UserError` if STORE is not on S3.
    """
    resources = {ROLE: _role(settings), POLICY: _policy(settings)}
    outputs = {
        "RoleArn": {"Value": {"Fn::GetAtt": [ROLE, "Arn"]}},
        "DriverPolicyArn": {"Value": {"Ref": POLICY}},
    }
    if bucket:
        resources |= _bucket(settings)
    if repository:
        resources[REPOSITORY] = _ecr_repository_resource(settings)
        outputs["RepositoryUri"] = {
            "Value": {
                "Fn::Sub": "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/"
                + repository_name(settings)
            }
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "What handful's jobs on SageMaker need. Made by `handful aws bootstrap`.",
        "Resources": resources,
        "Outputs": outputs,
    }


def _role(settings: Settings) -> dict[str, Any]:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
                # Only for jobs of this account: no confused deputy.
                "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
            }
        ],
    }
    policy = {"PolicyName": "jobs", "PolicyDocument": _document(rights_of_jobs(settings))}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "Description": "handful's jobs on SageMaker",
            "AssumeRolePolicyDocument": trust,
            "MaxSessionDuration": 43_200,
            "Policies": [policy],
        },
    }


def _policy(settings: Settings) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "Description": "For those who start handful's jobs: attach it to their role or group",
            "PolicyDocument": _document(rights_of_driver(settings)),
        },
    }


def _document(rights: tuple[Right, ...]) -> dict[str, Any]:
    statements = [
        right.statement([_substitute_arn(one) for one in right.resources]) for right in rights
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _substitute_arn(arn: str) -> Any:
    return {"Fn::Sub": arn} if "${" in arn else arn


def _bucket(settings: Settings) -> dict[str, Any]:
    name, key = store_folder(settings).bucket, settings.experiment.KMS_KEY
    by_default = (
        {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
    )
    properties = {
        "BucketName": name,
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {"ServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": bool(key)}
            ]
        },
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "Id": "interrupted-uploads",
                    "Status": "Enabled",
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                }
            ]
        },
    }
    arn = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{name}"}
    objects = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{name}/*"}
    encrypted_only = {
        "Sid": "EncryptedConnectionsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, objects],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return {
        BUCKET: {"Type": "AWS::S3::Bucket", **kept, "Properties": properties},
        f"{BUCKET}Policy": {
            "Type": "AWS::S3::BucketPolicy",
            **kept,
            "Properties": {
                "Bucket": {"Ref": BUCKET},
                "PolicyDocument": {"Version": "2012-10-17", "Statement": [encrypted_only]},
            },
        },
    }


def _ecr_repository_resource(settings: Settings) -> dict[str, Any]:
    return {
        "Type": "AWS::ECR::Repository",
        "Properties": {
            "RepositoryName": repository_name(settings),
            # An image can be built again, unlike an experiment's data.
            "EmptyOnDelete": True,
            "ImageScanningConfiguration": {"ScanOnPush": True},
        },
    }
