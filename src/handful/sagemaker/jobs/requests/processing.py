"""`CreateProcessingJob`, from settings and work: reconcile, prepare and test."""

from __future__ import annotations

from typing import Any

from handful.sagemaker.jobs.requests import common
from handful.sagemaker.jobs.requests.request_context import JOB_CHANNEL, Channel, Work
from handful.settings import Settings

INPUTS = "/opt/ml/processing/input"
OUTPUT = "/opt/ml/processing/output"
_MOST_INPUTS = 10


def processing_request(settings: Settings, work: Work) -> dict[str, Any]:
    """The request that runs `work`'s task ("reconcile", "prepare" or "test").

    `UserError` names the key that is missing or does not fit.
    """
    kind, count = _processing_instances(settings, work)
    job = Channel(JOB_CHANNEL, f"{work.folder}/{JOB_CHANNEL}")
    inputs = common.at_most([*work.channels, job], _MOST_INPUTS, "a processing job")
    network = common.vpc(settings)
    return {
        "ProcessingJobName": work.name,
        "ProcessingInputs": [_input(one) for one in inputs],
        "ProcessingOutputConfig": {
            # What a job makes goes to the store as it is finished; this is for what it leaves.
            "Outputs": [
                {
                    "OutputName": "left",
                    "S3Output": {
                        "S3Uri": f"{work.folder}/output",
                        "LocalPath": f"{OUTPUT}/left",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ],
            **common.output_key(settings),
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": kind,
                "InstanceCount": count,
                "VolumeSizeInGB": settings.sagemaker.VOLUME_SIZE_GB,
                **common.volume_key(settings, kind),
            }
        },
        "StoppingCondition": {
            "MaxRuntimeInSeconds": common.seconds(settings, common.LONGEST_PROCESSING)
        },
        "AppSpecification": {
            "ImageUri": common.image(settings),
            "ContainerEntrypoint": list(common.ENTRY),
        },
        "Environment": common.environment(settings, work),
        **({"NetworkConfig": {"EnableNetworkIsolation": False, **network}} if network else {}),
        "RoleArn": common.role(settings),
        "Tags": common.tags(settings, work),
    }


def _processing_instances(settings: Settings, work: Work) -> tuple[str, int]:
    section = settings.sagemaker
    if work.job.task == "test":
        return common.instance_type(section.TEST_INSTANCE_TYPE, "TEST_INSTANCE_TYPE"), 1
    kind = common.instance_type(section.PREPARE_INSTANCE_TYPE, "PREPARE_INSTANCE_TYPE")
    # Reconcile is one process that has the store's lock.
    return kind, section.PREPARE_INSTANCE_COUNT if work.job.task == "prepare" else 1


def _input(channel: Channel) -> dict[str, Any]:
    return {
        "InputName": channel.name,
        "AppManaged": False,
        "S3Input": {
            "S3Uri": channel.prefix,
            "LocalPath": f"{INPUTS}/{channel.name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            # Never ShardedByS3Key: it would tear the files of one artifact apart.
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }
