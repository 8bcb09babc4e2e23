"""`CreateTrainingJob` and `CreateHyperParameterTuningJob`, from settings and work."""

from __future__ import annotations

from typing import Any

from handful.errors import UserError
from handful.jobs.arguments import ModelArgs
from handful.jobs.log_metrics import best_name, metric_patterns
from handful.sagemaker.jobs.requests import common, pieces
from handful.sagemaker.jobs.requests.ranges import parameter_ranges
from handful.sagemaker.jobs.requests.request_context import Channel, Work
from handful.settings import Settings

LONGEST_WARM = 3_600
"""The documented limit; the API's own shape allows more."""
RETRIES = 3
"""After an error of SageMaker's own the job is started again, and goes on from its checkpoint."""
CHECKPOINTS = "/opt/ml/checkpoints"
_HYPERPARAMETERS = 100
_CHANNELS = 20


def training_request(settings: Settings, work: Work) -> dict[str, Any]:
    """The request that trains `work`'s model. `UserError` names the key that does not fit."""
    definition = _definition(settings, work, static=False)
    algorithm = definition["AlgorithmSpecification"]
    algorithm["ContainerEntrypoint"] = list(common.ENTRY)
    return {
        "TrainingJobName": work.name,
        "HyperParameters": _hyperparameters(work),
        **definition,
        "Tags": common.tags(settings, work),
    }


def tuning_request(settings: Settings, work: Work) -> dict[str, Any]:
    """The request that searches `[tune]`'s ranges; each trial trains `work`'s model.

    A tuning job cannot name an entry point: the image's own `train` runs.
    """
    tune, section = settings.tune, settings.train_for(work.job.model or "")
    ranges = parameter_ranges(tune.ranges)
    static = _hyperparameters(work)
    if len(static) + len(tune.ranges) > _HYPERPARAMETERS:
        raise UserError(
            f"the ranges and what else the trials are told are {len(static) + len(tune.ranges)} "
            f"hyperparameters; {_HYPERPARAMETERS} fit",
            where="[tune]",
            remedy="search fewer keys at once",
        )
    trials = tune.TRIALS or 1
    goal = "Maximize" if section.METRIC_GOAL == "max" else "Minimize"
    return {
        "HyperParameterTuningJobName": work.name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {
                "Type": goal,
                "MetricName": best_name(section.METRIC),
            },
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": trials,
                "MaxParallelTrainingJobs": min(tune.PARALLEL, trials),
            },
            "ParameterRanges": ranges,
            "TrainingJobEarlyStoppingType": "Off",
            "RandomSeed": settings.experiment.SEED,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": static,
            **_definition(settings, work, static=True),
        },
        "Tags": common.tags(settings, work),
    }


def _hyperparameters(work: Work) -> dict[str, str]:
    """The job and the settings in pieces, and what a person wants to see in the console."""
    carried = {
        **pieces.cut("job", work.job.to_json()),
        **pieces.cut("settings", work.settings_text),
    }
    pieces.check_count(len(carried), "job with its settings")
    one = work.job.arguments
    told = {"model": one.model, "seed": str(one.seed)} if isinstance(one, ModelArgs) else {}
    return {**{name: value[: pieces.PIECE] for name, value in told.items()}, **carried}


def _definition(settings: Settings, work: Work, *, static: bool) -> dict[str, Any]:
    """What a training job and the definition of a tuning job's trials have in common."""
    section = settings.sagemaker
    types = section.TRAIN_INSTANCE_TYPE
    wanted = work.instance_type or (types[0] if types else None)
    kind = common.instance_type(wanted, "TRAIN_INSTANCE_TYPE")
    metric = settings.train_for(work.job.model or "").METRIC
    spot = section.USE_SPOT
    longest = common.seconds(settings, common.LONGEST_TRAINING)
    waiting = {"MaxWaitTimeInSeconds": min(2 * longest, common.LONGEST_TRAINING)} if spot else {}
    return {
        "AlgorithmSpecification": {
            "TrainingImage": common.image(settings),
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": one.name, "Regex": one.regex} for one in metric_patterns(metric)
            ],
        },
        "RoleArn": common.role(settings),
        "InputDataConfig": [
            _channel(one) for one in common.at_most(work.channels, _CHANNELS, "a training job")
        ],
        "OutputDataConfig": {
            "S3OutputPath": f"{work.folder}/output",
            **common.output_key(settings),
        },
        "ResourceConfig": {
            "InstanceType": kind,
            "InstanceCount": section.TRAIN_INSTANCE_COUNT,
            "VolumeSizeInGB": section.VOLUME_SIZE_GB,
            **common.volume_key(settings, kind),
            **({} if static else _warm(settings)),
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": longest, **waiting},
        "EnableManagedSpotTraining": spot,
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "CheckpointConfig": {
            # handful's own checkpoints go to the store; this folder is for the user's functions.
            "S3Uri": f"{work.folder}/checkpoints",
            "LocalPath": CHECKPOINTS,
        },
        "RetryStrategy": {"MaximumRetryAttempts": RETRIES},
        "Environment": common.environment(settings, work),
        **common.vpc(settings),
    }


def _channel(channel: Channel) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": channel.prefix,
        # Never ShardedByS3Key: it would tear the files of one artifact or dataset apart.
        "S3DataDistributionType": "FullyReplicated",
    }
    return {
        "ChannelName": channel.name,
        "DataSource": {"S3DataSource": source},
        "CompressionType": "None",
        "InputMode": channel.mode,
    }


def _warm(settings: Settings) -> dict[str, int]:
    alive = settings.sagemaker.KEEP_ALIVE
    if not alive:
        return {}
    if settings.sagemaker.USE_SPOT:
        raise UserError(
            "spot instances cannot be kept warm",
            where="[sagemaker] KEEP_ALIVE",
            remedy="remove the line, or write USE_SPOT = false",
        )
    if alive > LONGEST_WARM:
        raise UserError(
            "an instance is kept warm for an hour at most",
            where="[sagemaker] KEEP_ALIVE",
            remedy="write 1h or less",
        )
    return {"KeepAlivePeriodInSeconds": max(1, round(alive))}
