"""The stack of `handful aws`, on moto's CloudFormation, IAM, S3 and ECR over HTTP."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.cli.aws import bootstrap_stack, show_standing, teardown_stack
from handful.errors import Denied, StepError, UserError
from handful.experiment.context import Experiment
from handful.layout import Layout
from handful.sagemaker.account.rights import rights_of_driver, rights_of_jobs
from handful.sagemaker.account.stack import Stack
from handful.sagemaker.account.template import stack_name, template
from handful.settings import Settings
from handful.storage.local.store import LocalStore
from tests.support.clouds import ACCOUNT, REGION, client, reset, running_moto
from tests.support.events import events_of
from tests.support.progress import Recording
from tests.support.sagemaker_works import settings as settings_of

WILD = {"*", "s3:*", "iam:*", "ec2:*", "sagemaker:*", "kms:*", "logs:*", "ecr:*"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture
def cloud(server: str) -> str:
    reset(server)
    return server


def read(directory: Path, cloud: str | None = None, **keys: Any) -> Settings:
    found = settings_of(directory / "EXP-1", ENDPOINT_URL=cloud, **keys)
    production = replace(found.production, FILES_URL="s3://acme-documents/uploads")
    return replace(found, production=production)


def statements(wanted: dict[str, Any], resource: str) -> list[dict[str, Any]]:
    properties = wanted["Resources"][resource]["Properties"]
    document = properties.get("PolicyDocument") or properties["Policies"][0]["PolicyDocument"]
    found: list[dict[str, Any]] = document["Statement"]
    return found


def policy_of(cloud: str, role: str) -> dict[str, Any]:
    """Sid → resources, of the role's policy (which moto keeps as Python's text of it)."""
    found = client(cloud, "iam").get_role_policy(RoleName=role, PolicyName="jobs")
    document = found["PolicyDocument"]
    document = ast.literal_eval(document) if isinstance(document, str) else document
    return {one["Sid"]: one["Resource"] for one in document["Statement"]}


def test_it_is_made_changed_and_removed(cloud: str, tmp_path: Path) -> None:
    settings = read(tmp_path, cloud)
    stack = Stack(settings)
    before = stack.look()
    assert before.state == ""
    assert not before.fits
    made = stack.bootstrap(before)
    assert (made.state, made.fits) == ("CREATE_COMPLETE", True)
    assert made.outputs["RoleArn"].startswith(f"arn:aws:iam::{ACCOUNT}:role/")
    assert {kind for _, kind, _, _ in made.resources} >= {
        "AWS::IAM::Role",
        "AWS::IAM::ManagedPolicy",
        "AWS::S3::Bucket",
        "AWS::ECR::Repository",
    }
    iam = client(cloud, "iam")
    role = made.outputs["RoleArn"].rpartition("/")[2]
    resources = policy_of(cloud, role)
    assert resources["StoreObjects"] == ["arn:aws:s3:::research/experiments/*"]
    assert resources["ImagePull"] == [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/handful"]
    # Again: nothing is to be done; with secrets: the role may read them, the bucket stays.
    assert stack.bootstrap(stack.look()).state == "CREATE_COMPLETE"
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:wandb-AbCdEf"
    more = Stack(read(tmp_path, cloud, SECRETS={"WANDB_API_KEY": arn}))
    assert not more.look().fits
    changed = more.bootstrap(more.look())
    assert (changed.state, changed.fits) == ("UPDATE_COMPLETE", True)
    # moto keeps the role as it was; what CloudFormation was sent is what `fits` has looked at.
    sent = {one["Sid"]: one["Resource"] for one in statements(dict(changed.wanted), "JobRole")}
    assert sent["Secrets"] == [arn]
    assert "Store" in changed.wanted["Resources"]
    removed = more.teardown()
    assert removed.kept == ()
    assert "S3::Bucket research" in removed.resources
    assert more.look().state == ""
    assert client(cloud, "s3").list_buckets()["Buckets"] == []
    assert client(cloud, "ecr").describe_repositories()["repositories"] == []
    assert all(one["RoleName"] != role for one in iam.list_roles()["Roles"])


def test_data_is_never_removed(cloud: str, tmp_path: Path) -> None:
    stack = Stack(read(tmp_path, cloud))
    stack.bootstrap(stack.look())
    s3 = client(cloud, "s3")
    s3.put_object(Bucket="research", Key="experiments/EXP-1/x", Body=b"data")
    removed = stack.teardown()
    assert removed.kept == ("the bucket research, since there is data in it",)
    assert s3.get_object(Bucket="research", Key="experiments/EXP-1/x")["Body"].read() == b"data"
    # What is there is used: the next stack has no bucket of its own.
    again = stack.look()
    assert "Store" not in again.wanted["Resources"]
    assert stack.bootstrap(again).state == "CREATE_COMPLETE"
    assert stack.teardown().kept == ()
    assert s3.list_buckets()["Buckets"][0]["Name"] == "research"


def test_a_repository_that_is_there_is_used(cloud: str, tmp_path: Path) -> None:
    client(cloud, "ecr").create_repository(repositoryName="handful")
    assert "Repository" not in Stack(read(tmp_path, cloud)).look().wanted["Resources"]
    elsewhere = f"999999999999.dkr.ecr.{REGION}.amazonaws.com/team/handful:1"
    other = Stack(read(tmp_path, cloud, IMAGE_URI=elsewhere)).look().wanted
    assert "Repository" not in other["Resources"]
    (pull,) = [one for one in statements(dict(other), "JobRole") if one["Sid"] == "ImagePull"]
    assert "999999999999:repository/team/handful" in str(pull["Resource"])


def test_one_that_failed_to_begin_is_made_anew_and_one_in_progress_waited_for(
    cloud: str, tmp_path: Path
) -> None:
    from moto.cloudformation.models import cloudformation_backends

    stack = Stack(read(tmp_path, cloud))
    stack.bootstrap(stack.look())
    (fake,) = cloudformation_backends[ACCOUNT][REGION].stacks.values()
    fake.status = "ROLLBACK_COMPLETE"
    assert stack.bootstrap(stack.look()).state == "CREATE_COMPLETE"
    (fake,) = (
        one
        for one in cloudformation_backends[ACCOUNT][REGION].stacks.values()
        if one.status == "CREATE_COMPLETE"
    )
    fake.status = "UPDATE_IN_PROGRESS"
    looks = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        fake.status = "UPDATE_COMPLETE"

    waiting = Stack(read(tmp_path, cloud), pause=pause)
    assert waiting.bootstrap(waiting.look()).state == "UPDATE_COMPLETE"
    assert looks == [5.0]
    fake.status = "UPDATE_ROLLBACK_FAILED"
    with pytest.raises(StepError, match="UPDATE_ROLLBACK_FAILED"):
        stack.bootstrap(stack.look())


def test_rights_are_the_least(tmp_path: Path) -> None:
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd"
    settings = read(tmp_path, SUBNETS=("subnet-1",), SECRETS={"A": "arn:aws:secretsmanager:x"})
    settings = replace(settings, experiment=replace(settings.experiment, KMS_KEY=key))
    wanted = template(settings, bucket=True, repository=True)
    for resource in ("JobRole", "DriverPolicy"):
        for one in statements(wanted, resource):
            assert not WILD & set(one["Action"]), one
    # What may be asked of everything is what AWS cannot limit, or no more than looking.
    everywhere = {
        action
        for resource in ("JobRole", "DriverPolicy")
        for one in statements(wanted, resource)
        if "*" in one["Resource"]
        for action in one["Action"]
    }
    assert all(
        one.startswith(("ec2:", "pricing:Get", "servicequotas:List"))
        or one in {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}
        for one in everywhere
    )
    # Production can be read, and never be written to.
    jobs = rights_of_jobs(settings)
    production = [one for one in jobs if any("acme-documents" in arn for arn in one.resources)]
    for one in production:
        writes = [action for action in one.actions if "Get" not in action and "List" not in action]
        assert bool(writes) == (not one.allowed)
    assert any(not one.allowed for one in production)
    assert not any(
        "acme-documents" in arn for one in rights_of_driver(settings) for arn in one.resources
    )
    (role,) = (one for one in statements(wanted, "DriverPolicy") if one["Sid"] == "PassRole")
    assert role["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    assert wanted["Resources"]["Store"]["DeletionPolicy"] == "Retain"
    trust = wanted["Resources"]["JobRole"]["Properties"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert len(json.dumps(wanted)) < 51_200


def test_a_store_inside_production_is_not_locked(tmp_path: Path) -> None:
    settings = read(tmp_path)
    production = replace(settings.production, FILES_URL="s3://research")
    inside = replace(settings, production=production)
    assert all(right.allowed for right in rights_of_jobs(inside))


def test_buckets_that_keys_of_the_database_lead_to_are_read_and_never_written(
    tmp_path: Path,
) -> None:
    settings = read(tmp_path)
    places = ("s3://archive", "s3://shared/ours")
    production = replace(settings.production, FILE_KEY_COLUMN="k", FILE_BUCKETS=places)
    jobs = rights_of_jobs(replace(settings, production=production))
    for objects in (":::archive/*", ":::shared/ours/*"):
        reads, never = (one for one in jobs if any(arn.endswith(objects) for arn in one.resources))
        assert (reads.actions, reads.allowed) == (("s3:GetObject",), True)
        assert not never.allowed
        assert "s3:Put*" in never.actions
    assert len({one.name for one in jobs}) == len(jobs)


def test_what_is_missing_is_told(tmp_path: Path, cloud: str) -> None:
    settings = read(tmp_path)
    local = replace(settings, experiment=replace(settings.experiment, STORE=str(tmp_path)))
    with pytest.raises(UserError, match="s3://bucket/prefix"):
        stack_name(local)
    with pytest.raises(UserError, match="REGION"):
        Stack(read(tmp_path, cloud, REGION=None)).look()
    nobody = replace(settings.experiment, AWS_PROFILE="nobody")
    with pytest.raises(Denied, match="nobody"):
        Stack(replace(read(tmp_path, cloud), experiment=nobody)).look()


def test_the_command_prints_first_asks_and_removes(
    cloud: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, told = read(tmp_path, cloud, IMAGE_URI=None), Recording()
    experiment = Experiment(
        tmp_path, settings, LocalStore(tmp_path / "s"), Layout("full"), told, tmp_path
    )
    stack = Stack(settings)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    bootstrap_stack(
        experiment.progress,
        experiment.settings.sagemaker,
        stack,
        as_json=False,
        yes=False,
        only_print=True,
    )
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["Resources"]) == {
        "JobRole",
        "DriverPolicy",
        "Store",
        "StorePolicy",
        "Repository",
    }
    with pytest.raises(UserError, match="--yes"):
        bootstrap_stack(
            experiment.progress,
            experiment.settings.sagemaker,
            stack,
            as_json=True,
            yes=False,
            only_print=False,
        )
    (event,) = events_of(capsys.readouterr().out)
    assert (event["event"], event["template"]) == ("template", printed)
    assert stack.look().state == ""
    bootstrap_stack(
        experiment.progress,
        experiment.settings.sagemaker,
        stack,
        as_json=False,
        yes=True,
        only_print=False,
    )
    assert any(
        one.startswith("write into [sagemaker]: ROLE_ARN = arn:aws:iam") for one in told.lines
    )
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/handful:1"
    assert f"write into [sagemaker]: IMAGE_URI = {uri}" in told.lines
    told.lines.clear()
    bootstrap_stack(
        experiment.progress,
        experiment.settings.sagemaker,
        stack,
        as_json=False,
        yes=False,
        only_print=False,
    )
    assert any("nothing is changed" in one for one in told.lines)
    show_standing(experiment.progress, stack.look())
    assert any("CREATE_COMPLETE" in one for one in told.lines)
    with pytest.raises(UserError, match="remove the stack"):
        teardown_stack(experiment.progress, stack, as_json=False, yes=False)
    teardown_stack(experiment.progress, stack, as_json=False, yes=True)
    assert "removed: S3::Bucket research" in told.lines
    teardown_stack(experiment.progress, stack, as_json=False, yes=True)
    assert any("nothing is removed" in one for one in told.lines)
