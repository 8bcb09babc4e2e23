"""The VPC of the jobs: are subnets and groups there, and is there a way to S3?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from handful.errors import Absent
from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, fine, trouble


def network_findings(
    clients: Clients, subnets: Sequence[str], groups: Sequence[str], instances: int
) -> Iterator[Finding]:
    """`instances` of one job run together in the subnets, and need an address each."""
    ec2 = clients.of("ec2")
    try:
        with told("DescribeSubnets"):
            found = ec2.describe_subnets(SubnetIds=list(subnets))["Subnets"]
        with told("DescribeSecurityGroups"):
            guards = ec2.describe_security_groups(GroupIds=list(groups))["SecurityGroups"]
    except Absent as error:
        remedy = "correct [sagemaker] SUBNETS and SECURITY_GROUPS"
        yield trouble("network", error.fault.what, remedy)
        return
    vpcs = {one["VpcId"] for one in [*found, *guards]}
    if len(vpcs) > 1:
        told_of = f"subnets and security groups are of several VPCs: {', '.join(sorted(vpcs))}"
        yield trouble("network", told_of, "let them be of one")
        return
    free = sum(one.get("AvailableIpAddressCount", 0) for one in found)
    if free < instances:
        told_of = f"{free} addresses are free, and {instances} instances run together"
        yield trouble("subnets", told_of, "add a subnet to [sagemaker] SUBNETS")
    else:
        yield fine("subnets", f"{len(found)} of {', '.join(vpcs)}, {free:,} addresses are free")
    yield from _ways_to_s3(ec2, clients.region, found)
    if instances > 1:
        yield _among_themselves(guards)


def _ways_to_s3(ec2: Any, region: str, subnets: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Each subnet needs an endpoint of S3, or a route out: its jobs have no public address."""
    vpc = subnets[0]["VpcId"]
    only = [{"Name": "vpc-id", "Values": [vpc]}]
    with told("DescribeVpcEndpoints"):
        pages = ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=only)
        endpoints = [one for page in pages for one in page["VpcEndpoints"]]
    with told("DescribeRouteTables"):
        tables = [
            one
            for page in ec2.get_paginator("describe_route_tables").paginate(Filters=only)
            for one in page["RouteTables"]
        ]
    of_s3 = [one for one in endpoints if one["ServiceName"].endswith(f".{region}.s3")]
    has_interface = any(one.get("VpcEndpointType") == "Interface" for one in of_s3)
    gateways = {table for one in of_s3 for table in one.get("RouteTableIds", [])}
    cut_off = [
        one["SubnetId"]
        for one in subnets
        if not has_interface
        and (table := _table_of(tables, one["SubnetId"]))["RouteTableId"] not in gateways
        and not _leads_out(table)
    ]
    if cut_off:
        yield trouble(
            "way to S3",
            f"none from {', '.join(cut_off)}: neither an endpoint of S3 nor a NAT gateway",
            f"make a gateway endpoint for com.amazonaws.{region}.s3 in {vpc}",
        )
    else:
        yield fine("way to S3", "an endpoint or a NAT gateway for each subnet")


def _table_of(tables: Sequence[dict[str, Any]], subnet: str) -> dict[str, Any]:
    """The subnet's own route table, else the VPC's main one."""
    main: dict[str, Any] = {"RouteTableId": "", "Routes": []}
    for table in tables:
        for link in table.get("Associations", []):
            if link.get("SubnetId") == subnet:
                return table
            if link.get("Main"):
                main = table
    return main


def _leads_out(table: dict[str, Any]) -> bool:
    """An internet gateway does not help: the jobs' interfaces get no public address."""
    for route in table.get("Routes", []):
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and (
            route.get("NatGatewayId") or route.get("TransitGatewayId") or route.get("InstanceId")
        ):
            return True
    return False


def _among_themselves(groups: Sequence[dict[str, Any]]) -> Finding:
    """Instances that work together have to reach each other through their security groups."""
    ids = {one["GroupId"] for one in groups}
    for group in groups:
        for rule in group.get("IpPermissions", []):
            sources = {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
            ports = (rule.get("FromPort", 0), rule.get("ToPort", 65_535))
            every = rule.get("IpProtocol") == "-1" or ports == (0, 65_535)
            if sources & ids and every:
                return fine("security groups", "the instances reach each other")
    return trouble(
        "security groups",
        "no rule lets the instances of one job reach each other",
        "add an inbound rule for all traffic from the security group itself",
    )
