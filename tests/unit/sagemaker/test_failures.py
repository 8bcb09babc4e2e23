"""What people are told to do about a failed job: by AWS's own words, and by nobody else's."""

from __future__ import annotations

import pytest

from handful.sagemaker.jobs.failures import is_no_room, remedy_for

ROLE = "arn:aws:sts::123456789012:assumed-role/handful/SageMaker"
CAPACITY, QUOTA, TRUST = "no instance of this type", "a higher quota", "trust policy"
IMAGE, START, SECRETS = "check [sagemaker] IMAGE_URI", "cannot be started", "the entries of"
KMS, INTERFACE, NETWORK = (
    "use the key of KMS_KEY",
    "make network interfaces",
    "needs an S3 endpoint",
)
SUBNET, REGION, GONE = "SUBNETS and SECURITY_GROUPS", "of one region", "s3:ListBucket"
STORE, LONGER, DISK = "the experiment's STORE", "MAX_RUNTIME", "VOLUME_SIZE_GB"
MEMORY, INTERNAL, LATER = "the memory ran out", "SageMaker's own trouble", "run again in a while"

SAID = [
    # capacity, quota, spot
    (
        "CapacityError: Unable to provision requested ML compute capacity. Please retry using a "
        "different ML instance type.",
        CAPACITY,
    ),
    ("Insufficient capacity error from EC2 while launching instances, retrying!", CAPACITY),
    (
        "EC2InsufficientCapacityError: Instance type 'ml.g5.48xlarge' is temporarily unavailable in"
        " supported availability zones [euw1-az1]. Try again in a few minutes.",
        CAPACITY,
    ),
    (
        "ResourceLimitExceeded: The account-level service limit 'ml.p3.2xlarge for training job "
        "usage' is 0 Instances, with current utilization of 0 Instances and a request delta of 1 "
        "Instances. Please contact AWS support to request an increase for this limit.",
        QUOTA,
    ),
    (
        "The account-level service limit 'ml.g5.xlarge for spot training job usage' is 0 Instances",
        QUOTA,
    ),
    ("MaxWaitTimeExceeded", LONGER),
    ("MaxRuntimeExceeded", LONGER),
    # IAM
    (
        "ClientError: SageMaker was unable to assume the role "
        "'arn:aws:iam::123456789012:role/SageMakerRole'",
        TRUST,
    ),
    (
        "Could not assume role arn:aws:iam::123456789012:role/x. Please ensure that the role "
        "exists and allows principal 'sagemaker.amazonaws.com' to assume the role.",
        TRUST,
    ),
    (
        "ClientError: TrainingHostAgent Initialization failed:InvalidInputException: SageMaker is "
        "unable to perform: sts:AssumeRole on the role. Check if you have a trust relationship for "
        "'sagemaker.amazonaws.com' to assume the role.",
        TRUST,
    ),
    (
        f"User: {ROLE} is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/"
        "x because no identity-based policy allows the iam:PassRole action",
        TRUST,
    ),
    # the image
    (
        "ClientError: Cannot pull algorithm container. Either the image does not exist or its "
        "permissions are incorrect.",
        IMAGE,
    ),
    ("Cannot find the requested image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1", IMAGE),
    (
        "ClientError: API error (404): manifest for 123456789012.dkr.ecr.us-west-2.amazonaws.com/a:"
        "20210610131649 not found: manifest unknown: Requested image not found",
        IMAGE,
    ),
    (
        "The repository of your image 123456789012.dkr.ecr.eu-west-2.amazonaws.com/a:1 does not "
        "grant ecr:GetDownloadUrlForLayer, ecr:BatchGetImage, ecr:BatchCheckLayerAvailability "
        "permission to sagemaker.amazonaws.com service principal.",
        IMAGE,
    ),
    (
        f"{ROLE} is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:me-centr"
        "al-1:272398656194:repository/a because no resource-based policy allows it",
        IMAGE,
    ),
    (
        "ClientError: Artifact upload failed:API error (400): OCI runtime create failed: "
        'container_linux.go:380: starting container process caused: exec: "train": executable file '
        "not found in $PATH: unknown",
        START,
    ),
    ("CannotStartContainerError. Please ensure the model container", START),
    # KMS and secrets
    (
        f"ClientError: User: {ROLE} is not authorized to perform: kms:Decrypt on resource: "
        "arn:aws:kms:eu-central-1:123456789012:key/1 because no resource-based policy allows the "
        "kms:Decrypt action",
        KMS,
    ),
    (f"User: {ROLE} is not authorized to perform: kms:GenerateDataKey on this resource", KMS),
    (
        "ClientError: Data download failed: The ciphertext refers to a customer master key that "
        "does not exist, does not exist in this region, or you are not allowed to access.",
        KMS,
    ),
    ("ClientError: the KMS key arn:aws:kms:eu-central-1:1:key/2 is pending deletion", KMS),
    (
        f"User: {ROLE} is not authorized to perform: secretsmanager:GetSecretValue on resource: "
        "arn:aws:secretsmanager:eu-central-1:1:secret:labels",
        SECRETS,
    ),
    # the network
    (
        "ClientError: Artifact upload failed:Please ensure that the subnet's route table has a "
        "route to an S3 VPC endpoint or a NAT device, and both the security groups and the "
        "subnet's network ACL allow outbound traffic to S3",
        NETWORK,
    ),
    (
        "ClientError: Failed to download data. ListObjectsV2 failed for s3://a/b nextToken:[null]:"
        " Unable to execute request to S3",
        NETWORK,
    ),
    ("InvalidSubnetID.NotFound: The subnet ID 'subnet-1' does not exist", SUBNET),
    (f"User: {ROLE} is not authorized to perform: ec2:CreateNetworkInterface", INTERFACE),
    # S3
    (
        "ClientError: Data download failed:Unable to download object s3://a/b (AccessDenied: Access"
        " Denied)",
        STORE,
    ),
    ("ClientError: Data download failed: Access denied (403)", STORE),
    (f"User: {ROLE} is not authorized to perform: s3:ListBucket on this resource", STORE),
    (
        "ClientError: Data download failed:PermanentRedirect (301): The bucket is in this region: "
        "us-west-2. Please use this region to retry the request",
        REGION,
    ),
    (
        'No S3 objects found under S3 URL "s3://a/b/" given in input data source. Please ensure '
        "that the bucket exists in the selected region (us-west-2), that objects exist under that "
        'S3 prefix, and that the role "arn:aws:iam::1:role/x" has "s3:ListBucket" permissions.',
        GONE,
    ),
    ("ClientError: Data download failed:NoSuchBucket (404): The bucket does not exist", GONE),
    # the machine, and SageMaker itself
    ("ClientError: Data download failed: No space left on device", DISK),
    ("ClientError: Please use an instance type with more memory, or reduce the data", MEMORY),
    ("AlgorithmError: , exit code: 137", MEMORY),
    ("AlgorithmError: See job logs for more information, exit code: 137", MEMORY),
    ("InternalServerError: We encountered an internal error. Please try again.", INTERNAL),
    ("ThrottlingException: Rate exceeded", LATER),
]
"""As people have met them, and the documentation has them."""
BY_CONTAINER = [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", MEMORY),
    ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", MEMORY),
    ("training process 0 was ended by signal 9 (SIGKILL)", MEMORY),
    ("OSError: [Errno 28] No space left on device", DISK),
    (
        "ClientError: An error occurred (AccessDenied) when calling the PutObject operation: "
        "Access Denied",
        STORE,
    ),
    (f"User: {ROLE} is not authorized to perform: kms:Decrypt on resource", KMS),
    (f"User: {ROLE} is not authorized to perform: secretsmanager:GetSecretValue on x", SECRETS),
    ('Could not connect to the endpoint URL: "https://s3.eu-west-1.amazonaws.com/"', NETWORK),
    ("An error occurred (SlowDown) when calling the PutObject operation (reached max)", LATER),
]
OWN = [
    "KeyError: 'SECRET'",
    "ValueError: cannot decrypt the ecru page",
    "KeyError: 'quota'",
    "ValueError: label 'quota exceeded' is none that is known",
    "AttributeError: 'NeuralNetwork' object has no attribute 'forward'",
    "ModuleNotFoundError: No module named 'Network'",
    "FileNotFoundError: image.png not found",
    "the image page_1.png does not exist",
    "ValueError: the subnet of the graph is empty",
    "ValueError: the kms column is missing, SECRET too",
    "RuntimeError: the service limit of this library is 3",
    "TimeoutError: the tokenizer timed out",
    "PermissionError: access denied to /data/words.txt",
    "openai.InternalServerError: try again",
    "AssertionError: out of memory cells: 3",
    "returned str, not a torch.nn.Module",
    "MaxRuntimeExceeded is a word of mine",
    "",
]
"""A user's words, and a library's."""


@pytest.mark.parametrize(("reason", "remedy"), SAID)
def test_each_reason_of_sagemakers_has_its_own_remedy(reason: str, remedy: str) -> None:
    assert remedy in remedy_for(reason)


@pytest.mark.parametrize(("reason", "remedy"), BY_CONTAINER)
def test_what_only_aws_or_the_system_says_is_known_in_a_containers_words(
    reason: str, remedy: str
) -> None:
    assert remedy in remedy_for(f"AlgorithmError: {reason}, exit code: 1")
    assert remedy in remedy_for(reason, container=True)
    assert not is_no_room(f"AlgorithmError: {reason}, exit code: 1")


@pytest.mark.parametrize("reason", OWN)
def test_a_users_own_words_are_no_fault_of_the_account(reason: str) -> None:
    assert remedy_for(f"AlgorithmError: {reason}, exit code: 1") == ""
    assert remedy_for(reason, container=True) == ""
    assert not is_no_room(f"AlgorithmError: {reason}, exit code: 1")


def test_who_has_told_what_to_do_is_not_contradicted() -> None:
    said = "the memory is short, exit code: 137. What to do: lower BATCH_SIZE"
    assert remedy_for(f"AlgorithmError: {said}") == ""


@pytest.mark.parametrize("reason", [said for said, remedy in SAID if remedy in {CAPACITY, QUOTA}])
def test_another_type_is_tried_only_where_there_is_no_room(reason: str) -> None:
    assert is_no_room(reason)
    assert not is_no_room(f"AlgorithmError: {reason}, exit code: 1")


@pytest.mark.parametrize(
    "reason", [said for said, remedy in SAID if remedy not in {CAPACITY, QUOTA}]
)
def test_no_other_reason_makes_another_type_be_tried(reason: str) -> None:
    assert not is_no_room(reason)
