"""Before paying: what `check` finds on moto's IAM, S3, ECR and EC2, over HTTP.

moto has no simulation, no quotas of SageMaker's and no price list: those three calls are answered
by botocore's Stubber, which holds request and answer against AWS's own description.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from handful.errors import Denied, NotReady
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.account.findings import Finding, Verdict
from handful.sagemaker.account.identity import Identity, trusts
from handful.sagemaker.account.network import network_findings
from handful.sagemaker.account.prices import price_of
from handful.sagemaker.account.rights import Right, rights_of_driver, rights_of_jobs
from handful.sagemaker.account.simulation import simulate_principal_rights
from handful.sagemaker.jobs.costs import readiness
from handful.settings import Settings
from tests.support.clouds import ACCOUNT, REGION, client, reset, running_moto
from tests.support.sagemaker_works import settings as settings_of

ME = Identity(f"arn:aws:iam::{ACCOUNT}:user/me", ACCOUNT)


class PartlyStubbed(Clients):
    """Clients of the server; some operations of some services are answered by a Stubber."""

    def __init__(self, settings: Settings, **stubbed: tuple[str, Any]) -> None:
        super().__init__(settings)
        self._stubbed = {name.replace("_", "-"): pair for name, pair in stubbed.items()}

    def of(self, service: str, region: str | None = None) -> Any:
        real = super().of(service, region)
        if service not in self._stubbed:
            return real
        operation, stubbed = self._stubbed[service]

        class Both:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def get_paginator(self, name: str) -> Any:
                return (stubbed if name == operation else real).get_paginator(name)

        return Both()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture
def cloud(server: str) -> str:
    reset(server)
    return server


def trust(service: str = "sagemaker.amazonaws.com", effect: str = "Allow") -> dict[str, Any]:
    statement = {"Effect": effect, "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def ready(cloud: str, directory: Path, **keys: Any) -> Settings:
    """Settings whose role, bucket and image are there."""
    client(cloud, "iam").create_role(
        RoleName="handful", AssumeRolePolicyDocument=json.dumps(trust())
    )
    client(cloud, "s3").create_bucket(
        Bucket="research", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    ecr = client(cloud, "ecr")
    ecr.create_repository(repositoryName="handful")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "layers": [{"size": 10, "digest": "sha256:2"}],
        "config": {"digest": "sha256:1"},
    }
    ecr.put_image(repositoryName="handful", imageManifest=json.dumps(manifest), imageTag="1")
    return settings_of(directory / "EXP-1", ENDPOINT_URL=cloud, **keys)


def simulator(settings: Settings, asked: Mapping[str, Sequence[Right]], *no: str) -> Any:
    """A stubbed IAM that allows all but the actions `no`; principal → the rights asked for."""
    found = Clients(settings).of("iam")
    stubber = Stubber(found)
    for principal, rights in asked.items():
        for right in rights:
            if not right.allowed:
                continue
            answers = [
                {
                    "EvalActionName": action,
                    "EvalDecision": "implicitDeny" if action in no else "allowed",
                }
                for action in right.actions
            ]
            stubber.add_response(
                "simulate_principal_policy",
                {"EvaluationResults": answers, "IsTruncated": False},
                {
                    "PolicySourceArn": principal,
                    "ActionNames": list(right.actions),
                    "ResourceArns": [filled(arn) for arn in right.resources],
                    "ContextEntries": entries(right),
                },
            )
    stubber.activate()
    return found


def filled(arn: str) -> str:
    for name, value in (("Partition", "aws"), ("Region", REGION), ("AccountId", ACCOUNT)):
        arn = arn.replace(f"${{AWS::{name}}}", value)
    assert "${" not in arn
    return arn


def entries(right: Right) -> list[dict[str, Any]]:
    values = {
        "iam:PassedToService": "sagemaker.amazonaws.com",
        "cloudwatch:namespace": "/aws/sagemaker/TrainingJobs",
        "s3:prefix": "experiments",
    }
    return [
        {"ContextKeyName": key, "ContextKeyValues": [values[key]], "ContextKeyType": "string"}
        for test in right.condition.values()
        for key in test
    ]


def quotas(settings: Settings, **values: float) -> Any:
    """A stubbed Service Quotas; `m5_training=2` → "ml.m5.xlarge for training job usage"."""
    found = Clients(settings).of("service-quotas")
    stubber = Stubber(found)
    listed = [
        {
            "QuotaName": f"ml.{one.split('_')[0]}.xlarge for {one.split('_')[1]} job usage",
            "Value": v,
        }
        for one, v in values.items()
    ]
    stubber.add_response("list_service_quotas", {"Quotas": listed}, {"ServiceCode": "sagemaker"})
    stubber.activate()
    return found


def looked_at(settings: Settings, *no: str, **values: float) -> dict[str, Finding]:
    role = str(settings.sagemaker.ROLE_ARN)
    me = f"arn:aws:sts::{ACCOUNT}:user/moto"  # as moto has it
    asked = {me: rights_of_driver(settings, role), role: rights_of_jobs(settings)}
    clients = PartlyStubbed(
        settings,
        iam=("simulate_principal_policy", simulator(settings, asked, *no)),
        service_quotas=("list_service_quotas", quotas(settings, **values)),
    )
    return {one.what: one for one in readiness.findings(settings, clients)}


ENOUGH = {"m5_processing": 5.0, "g5_training": 2.0, "m5_training": 2.0}


def test_all_is_fine(cloud: str, tmp_path: Path) -> None:
    found = looked_at(ready(cloud, tmp_path), **ENOUGH)
    assert {one.verdict for one in found.values()} == {Verdict.FINE}, found
    assert set(found) == {
        "identity",
        "role",
        "your rights",
        "the role's rights",
        "STORE",
        "image",
        "quota of ml.m5.xlarge",
        "quota of ml.g5.xlarge",
    }
    assert "SageMaker may take it" in found["role"].found
    assert "research in eu-central-1" in found["STORE"].found
    assert "GB to pull" in found["image"].found
    readiness.refuse(list(found.values()))


def test_what_is_missing_is_told_together(cloud: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1", ENDPOINT_URL=cloud)
    few = {"m5_processing": 1.0, "g5_training": 0.0}
    found = looked_at(settings, "s3:PutObject", "iam:PassRole", **few)
    troubles = {name for name, one in found.items() if one.verdict is Verdict.TROUBLE}
    assert troubles == {
        "role",
        "your rights: PassRole",
        "your rights: StoreObjects",
        "the role's rights: StoreObjects",
        "STORE",
        "image",
        "quota of ml.g5.xlarge",
    }
    assert "there is no role handful" in found["role"].found
    with pytest.raises(NotReady) as error:
        readiness.refuse(list(found.values()))
    for word in ("iam:PassRole", "s3:PutObject", "no bucket research", "handful image build"):
        assert word in str(error.value)
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    ("values", "verdict", "word"),
    [
        ({"m5_processing": 5.0, "g5_training": 1.0, "m5_training": 2.0}, "trouble", "1 for"),
        ({"m5_processing": 5.0, "g5_training": 5.0, "m5_training": 2.0}, "fine", "5 for"),
        ({"m5_processing": 5.0, "m5_training": 2.0}, "unknown", "AWS lists none"),
    ],
)
@pytest.mark.slow
def test_quotas(
    cloud: str, tmp_path: Path, values: dict[str, float], verdict: str, word: str
) -> None:
    found = looked_at(ready(cloud, tmp_path), **values)["quota of ml.g5.xlarge"]
    assert found.verdict == verdict
    assert word in found.found


def test_seeds_side_by_side_and_spot_have_their_quotas(cloud: str, tmp_path: Path) -> None:
    settings = ready(cloud, tmp_path, USE_SPOT=True)
    settings = replace(settings, train=replace(settings.train, SEEDS=(0, 1, 2)))
    listed = {
        "ml.g5.xlarge for spot training job usage": 2.0,
        "ml.m5.xlarge for spot training job usage": 6.0,
    }
    from handful.sagemaker.account.quotas import quota_findings
    from handful.sagemaker.jobs.costs.instances import jobs_of

    needs = tuple(need for one in jobs_of(settings, ["train"]) for need in one.needs())
    first, second = quota_findings(listed, needs)
    assert (first.verdict, second.verdict) == (Verdict.FINE, Verdict.FINE)
    assert "side by side 6 are wanted, so some jobs will wait" in first.found
    assert "of which 6 are wanted" in second.found


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (trust("ec2.amazonaws.com"), "may not take"),
        (trust(effect="Deny"), "may not take"),
    ],
)
@pytest.mark.slow
def test_a_role_that_sagemaker_may_not_take(
    cloud: str, tmp_path: Path, document: dict[str, Any], word: str
) -> None:
    settings = ready(cloud, tmp_path)
    iam = client(cloud, "iam")
    iam.update_assume_role_policy(RoleName="handful", PolicyDocument=json.dumps(document))
    found = looked_at(settings, **ENOUGH)["role's trust"]
    assert found.verdict is Verdict.TROUBLE
    assert word in found.found


def test_trust_is_read_in_all_its_spellings() -> None:
    assert trusts(trust(), "sagemaker.amazonaws.com")
    both = trust()
    both["Statement"][0]["Principal"] = {
        "Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]
    }
    both["Statement"][0]["Action"] = ["sts:AssumeRole", "sts:TagSession"]
    assert trusts(both, "sagemaker.amazonaws.com")
    one = {"Statement": both["Statement"][0]}
    assert trusts(one, "sagemaker.amazonaws.com")
    denied = {"Statement": [trust()["Statement"][0], trust(effect="Deny")["Statement"][0]]}
    assert not trusts(denied, "sagemaker.amazonaws.com")
    assert not trusts({"Statement": []}, "sagemaker.amazonaws.com")


@pytest.mark.slow
def test_roles_and_images_of_other_places(cloud: str, tmp_path: Path) -> None:
    settings = ready(
        cloud,
        tmp_path,
        ROLE_ARN="arn:aws:iam::999999999999:role/other",
        IMAGE_URI=f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/handful:1",
    )
    found = looked_at(settings, **ENOUGH)
    assert "account 999999999999" in found["role"].found
    assert "lies in us-east-1" in found["image"].found
    missing = replace(settings.sagemaker, IMAGE_URI=PLAIN_IMAGE.replace(":1", ":2"))
    found = looked_at(replace(settings, sagemaker=missing), **ENOUGH)
    assert "no such image" in found["image"].found
    digest = replace(settings.sagemaker, IMAGE_URI="python:3.11")
    assert "in no repository" in looked_at(replace(settings, sagemaker=digest))["image"].found


PLAIN_IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/handful:1"


def test_a_bucket_in_another_region(cloud: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1", ENDPOINT_URL=cloud)
    client(cloud, "s3", "eu-west-1").create_bucket(
        Bucket="research", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    found = looked_at(settings)["STORE"]
    assert found.verdict is Verdict.TROUBLE
    assert "eu-west-1" in found.remedy


@pytest.mark.slow
def test_who_may_not_look_knows_nothing(cloud: str, tmp_path: Path) -> None:
    settings = ready(cloud, tmp_path)
    iam, listing = Clients(settings).of("iam"), Clients(settings).of("service-quotas")
    for one, operation in ((iam, "simulate_principal_policy"), (listing, "list_service_quotas")):
        stubber = Stubber(one)
        for _ in range(3):
            stubber.add_client_error(operation, "AccessDenied", "no", 403)
        stubber.activate()
    clients = PartlyStubbed(
        settings,
        iam=("simulate_principal_policy", iam),
        service_quotas=("list_service_quotas", listing),
    )
    found = {one.what: one for one in readiness.findings(settings, clients)}
    for name in ("your rights", "the role's rights", "quotas"):
        assert found[name].verdict is Verdict.UNKNOWN
        assert "you may not look" in found[name].found
    readiness.refuse(list(found.values()))


def test_without_credentials_or_network_there_is_one_trouble(
    cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path / "EXP-1", ENDPOINT_URL="http://127.0.0.1:9")
    monkeypatch.setattr("handful.sagemaker.account.clients.ATTEMPTS", 1)
    (found,) = readiness.findings(settings)
    assert found.verdict is Verdict.TROUBLE
    assert "did not answer" in found.found
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (found,) = readiness.findings(settings_of(tmp_path / "EXP-1", ENDPOINT_URL=cloud))
    assert "no AWS credentials" in found.found
    assert "aws sso login" in found.remedy


class TestNetwork:
    """Subnets, security groups and the way to S3."""

    @pytest.fixture
    def vpc(self, cloud: str) -> dict[str, Any]:
        ec2 = client(cloud, "ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
        return {"ec2": ec2, "vpc": vpc, "subnet": subnet, "group": group}

    def look(
        self, cloud: str, directory: Path, vpc: dict[str, Any], instances: int = 1
    ) -> dict[str, Finding]:
        clients = Clients(settings_of(directory / "EXP-1", ENDPOINT_URL=cloud))
        found = network_findings(clients, [vpc["subnet"]], [vpc["group"]], instances)
        return {one.what: one for one in found}

    def test_a_private_subnet_needs_a_way_to_s3(
        self, cloud: str, tmp_path: Path, vpc: dict[str, Any]
    ) -> None:
        found = self.look(cloud, tmp_path, vpc)
        assert found["subnets"].verdict is Verdict.FINE
        assert found["way to S3"].verdict is Verdict.TROUBLE
        assert f"com.amazonaws.{REGION}.s3" in found["way to S3"].remedy
        ec2 = vpc["ec2"]
        (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc["vpc"]]}])[
            "RouteTables"
        ]
        ec2.create_vpc_endpoint(
            VpcId=vpc["vpc"],
            ServiceName=f"com.amazonaws.{REGION}.s3",
            RouteTableIds=[table["RouteTableId"]],
        )
        assert self.look(cloud, tmp_path, vpc)["way to S3"].verdict is Verdict.FINE

    def test_a_nat_gateway_is_a_way_and_an_internet_gateway_is_none(
        self, cloud: str, tmp_path: Path, vpc: dict[str, Any]
    ) -> None:
        ec2 = vpc["ec2"]
        table = ec2.create_route_table(VpcId=vpc["vpc"])["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=vpc["subnet"])
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc["vpc"])
        everywhere = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
        ec2.create_route(**everywhere, GatewayId=gateway)
        assert self.look(cloud, tmp_path, vpc)["way to S3"].verdict is Verdict.TROUBLE
        nat = ec2.create_nat_gateway(SubnetId=vpc["subnet"])["NatGateway"]["NatGatewayId"]
        ec2.delete_route(**everywhere)
        ec2.create_route(**everywhere, NatGatewayId=nat)
        assert self.look(cloud, tmp_path, vpc)["way to S3"].verdict is Verdict.FINE

    def test_instances_that_train_together_have_to_reach_each_other(
        self, cloud: str, tmp_path: Path, vpc: dict[str, Any]
    ) -> None:
        found = self.look(cloud, tmp_path, vpc, 2)["security groups"]
        assert found.verdict is Verdict.TROUBLE
        itself = [{"GroupId": vpc["group"]}]
        vpc["ec2"].authorize_security_group_ingress(
            GroupId=vpc["group"],
            IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": itself}],
        )
        found = self.look(cloud, tmp_path, vpc, 2)["security groups"]
        assert found.verdict is Verdict.FINE
        assert self.look(cloud, tmp_path, vpc, 400)["subnets"].verdict is Verdict.TROUBLE

    def test_absent_and_scattered_ones(
        self, cloud: str, tmp_path: Path, vpc: dict[str, Any]
    ) -> None:
        gone = self.look(cloud, tmp_path, {**vpc, "subnet": "subnet-00000000"})["network"]
        assert "subnet-00000000" in gone.found
        other = vpc["ec2"].create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        group = vpc["ec2"].create_security_group(GroupName="h", Description="h", VpcId=other)
        scattered = self.look(cloud, tmp_path, {**vpc, "group": group["GroupId"]})["network"]
        assert "several VPCs" in scattered.found


def test_a_simulation_is_asked_with_what_a_call_carries(cloud: str, tmp_path: Path) -> None:
    settings = ready(cloud, tmp_path)
    rights = rights_of_jobs(settings)
    iam = simulator(settings, {ME.arn: rights}, "logs:PutLogEvents")
    clients = PartlyStubbed(settings, iam=("simulate_principal_policy", iam))
    (found,) = simulate_principal_rights(clients, ME, "rights", ME.arn, rights)
    assert found.what == "rights: Logs"
    assert "may not logs:PutLogEvents on arn:aws:logs:eu-central-1:123456789012" in found.found


def product(usage: str, dollars: str) -> str:
    dimension = {"priceDimensions": {"x": {"unit": "Hrs", "pricePerUnit": {"USD": dollars}}}}
    attributes = {"usagetype": usage, "instanceName": "ml.m5.xlarge"}
    return json.dumps(
        {"product": {"attributes": attributes}, "terms": {"OnDemand": {"y": dimension}}}
    )


def test_the_price_list(cloud: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1", ENDPOINT_URL=cloud)
    pricing = Clients(settings).of("pricing", "us-east-1")
    listed = [
        product("EUC1-Train:ml.m5.xlarge", "0.2760000000"),
        product("EUC1-Host:ml.m5.xlarge", "0.9000000000"),
        product("EUC1-Processing:ml.m5.xlarge", "0.2770000000"),
        product("EUC1-NotTrain:ml.m5.xlarge", "0.8000000000"),
        product("EUC1-Train:ml.m5.xlarge", "0.0000000000"),
    ]
    filters = [
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": REGION},
        {"Type": "TERM_MATCH", "Field": "instanceName", "Value": "ml.m5.xlarge"},
    ]
    clients = PartlyStubbed(settings, pricing=("get_products", pricing))
    with Stubber(pricing) as stubber:
        for answer in (listed, listed, []):
            asked = {"ServiceCode": "AmazonSageMaker", "Filters": filters}
            stubber.add_response("get_products", {"PriceList": answer}, asked)
        assert price_of(clients, "ml.m5.xlarge", "Train") == 0.276
        assert price_of(clients, "ml.m5.xlarge", "Processing") == 0.277
        assert price_of(clients, "ml.m5.xlarge", "Train") is None
        stubber.add_client_error("get_products", "AccessDeniedException", "no", 403)
        with pytest.raises(Denied):
            price_of(clients, "ml.m5.xlarge", "Train")
