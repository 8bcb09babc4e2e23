"""The stack of `handful aws bootstrap`: made, looked at and removed through CloudFormation.

Killed at whatever moment and run again, each of these goes on: a stack that is being made or
removed is waited for, one whose making failed is removed first. Data is never removed: a bucket
that the stack made goes with it only while nothing is in it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handful.errors import Absent, StepError
from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.places import ecr_image, store_folder
from handful.sagemaker.account.rights import repository_name
from handful.sagemaker.account.template import BUCKET, REPOSITORY, stack_name, template
from handful.settings import Settings

PAUSE = 5.0
"""Seconds between two looks at a stack that is changing."""
MOST_LOOKS = 360
_FAILED_TO_BEGIN = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"})
_LAST_EVENTS = 5


@dataclass(frozen=True)
class Standing:
    """The stack as it is."""

    name: str
    state: str
    """CloudFormation's word; empty if there is no such stack."""
    reason: str
    outputs: Mapping[str, str]
    resources: tuple[tuple[str, str, str, str], ...]
    """(logical id, type, physical id, state) of each."""
    wanted: Mapping[str, Any]
    """The template that the settings ask for."""
    fits: bool
    """Is the stack's template the wanted one?"""

    @property
    def text(self) -> str:
        """The wanted template, as it is printed and sent."""
        return json.dumps(self.wanted, indent=2)


@dataclass(frozen=True)
class Removed:
    """What `teardown` did."""

    name: str
    resources: tuple[str, ...]
    kept: tuple[str, ...]
    """What is still there, and why."""


class Stack:
    """The stack of one experiment's STORE."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._settings = settings
        self._clients = clients or Clients(settings)
        self._pause = pause or threading.Event().wait
        self.name = stack_name(settings)

    def look(self) -> Standing:
        """How it stands, and what the settings ask for; nothing is changed."""
        found = self._describe_stack()
        resources = self._resources() if found else ()
        made = {logical for logical, _, _, state in resources if not state.startswith("DELETE_")}
        wanted = template(
            self._settings,
            bucket=BUCKET in made or not self._has_bucket(),
            repository=REPOSITORY in made or self._wants_repository(),
        )
        outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
        return Standing(
            self.name,
            found.get("StackStatus", ""),
            found.get("StackStatusReason", ""),
            outputs,
            resources,
            wanted,
            bool(found) and self._template() == wanted,
        )

    def bootstrap(self, standing: Standing) -> Standing:
        """Make or change the stack to what `standing` wants. `StepError` with AWS's reasons."""
        state = standing.state
        if state.endswith("_IN_PROGRESS"):
            self._wait_for_stack()
            standing = self.look()
            state = standing.state
        if state in _FAILED_TO_BEGIN:
            self._delete()
            standing = self.look()
            state = standing.state
        if not state:
            self._create(standing.text)
        elif not standing.fits:
            self._update(standing.text)
        state = self._wait_for_stack()
        if state not in _GOOD or state == "UPDATE_ROLLBACK_COMPLETE":
            raise self._failure(state)
        return self.look()

    def teardown(self) -> Removed:
        """Remove the stack, and its bucket if that is empty. `StepError` with AWS's reasons."""
        standing = self.look()
        resources = tuple(
            f"{kind.removeprefix('AWS::')} {physical}"
            for logical, kind, physical, _ in standing.resources
            if not logical.startswith(BUCKET)
        )
        kept = []
        if any(logical == BUCKET for logical, *_ in standing.resources):
            # First, so that a kill in between leaves nothing that nobody knows of.
            bucket = store_folder(self._settings).bucket
            if self._remove_bucket_if_empty(bucket):
                resources = (*resources, f"S3::Bucket {bucket}")
            else:
                kept.append(f"the bucket {bucket}, since there is data in it")
        if standing.state:
            self._delete()
        return Removed(self.name, resources, tuple(kept))

    # --- what is there -----------------------------------------------------------------------

    def _describe_stack(self) -> dict[str, Any]:
        try:
            with told("DescribeStacks"):
                answer = self._client.describe_stacks(StackName=self.name)
        except StepError as error:
            # CloudFormation says so by a ValidationError.
            if "does not exist" in str(error):
                return {}
            raise
        found: dict[str, Any] = answer["Stacks"][0]
        return {} if found["StackStatus"] == "DELETE_COMPLETE" else found

    def _resources(self) -> tuple[tuple[str, str, str, str], ...]:
        with told("ListStackResources"):
            pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
            return tuple(
                (
                    one["LogicalResourceId"],
                    one["ResourceType"],
                    one.get("PhysicalResourceId", ""),
                    one["ResourceStatus"],
                )
                for page in pages
                for one in page["StackResourceSummaries"]
            )

    def _template(self) -> Any:
        with told("GetTemplate"):
            body = self._client.get_template(StackName=self.name)["TemplateBody"]
        return json.loads(body) if isinstance(body, str) else body

    def _has_bucket(self) -> bool:
        bucket = store_folder(self._settings).bucket
        try:
            with told(f"HeadBucket {bucket}"):
                self._clients.of("s3").head_bucket(Bucket=bucket)
        except Absent:
            return False
        return True

    def _wants_repository(self) -> bool:
        """Only one in this account and region that is not there can be made."""
        image = ecr_image(self._settings.sagemaker.IMAGE_URI)
        if image is not None:
            with told("GetCallerIdentity"):
                account = self._clients.of("sts").get_caller_identity()["Account"]
            if (image.account, image.region) != (account, self._clients.region):
                return False
        elif self._settings.sagemaker.IMAGE_URI:
            return False
        name = repository_name(self._settings)
        try:
            with told(f"DescribeRepositories {name}"):
                self._clients.of("ecr").describe_repositories(repositoryNames=[name])
        except Absent:
            return True
        return False

    # --- changing it -------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        return self._clients.of("cloudformation")

    def _create(self, text: str) -> None:
        with told("CreateStack"):
            self._client.create_stack(StackName=self.name, TemplateBody=text, **self._options())

    def _update(self, text: str) -> None:
        try:
            with told("UpdateStack"):
                self._client.update_stack(StackName=self.name, TemplateBody=text, **self._options())
        except StepError as error:
            # What differs may be no more than how the template is written.
            if "No updates are to be performed" not in str(error):
                raise

    def _options(self) -> dict[str, Any]:
        tags = {"handful:store": self._settings.experiment.STORE, **self._settings.sagemaker.TAGS}
        return {
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }

    def _delete(self) -> None:
        with told("DeleteStack"):
            self._client.delete_stack(StackName=self.name)
        state = self._wait_for_stack()
        if state:
            raise self._failure(state)

    def _wait_for_stack(self) -> str:
        """Wait until nothing changes any more; the state, empty if the stack is gone."""
        for _ in range(MOST_LOOKS):
            state = str(self._describe_stack().get("StackStatus", ""))
            if not state.endswith("_IN_PROGRESS"):
                return state
            self._pause(PAUSE)
        raise StepError(
            "the stack is still changing",
            where=f"CloudFormation, {self.name}",
            remedy="run the same command again to go on waiting",
        )

    def _remove_bucket_if_empty(self, bucket: str) -> bool:
        """Remove the bucket if it is empty; is it gone?"""
        try:
            with told(f"DeleteBucket {bucket}"):
                self._clients.of("s3").delete_bucket(Bucket=bucket)
        except Absent:
            return True
        except StepError as error:
            if "BucketNotEmpty" in str(error):
                return False
            raise
        return True

    def _failure(self, state: str) -> StepError:
        with told("DescribeStackEvents"):
            events = self._client.describe_stack_events(StackName=self.name)["StackEvents"]
        reasons = [
            f"{one['LogicalResourceId']}: {one['ResourceStatusReason']}"
            for one in events
            if one["ResourceStatus"].endswith("_FAILED") and one.get("ResourceStatusReason")
        ]
        said = "; ".join(reasons[:_LAST_EVENTS]) or "no reason was given"
        return StepError(
            f"the stack ended as {state}: {said}",
            where=f"CloudFormation, {self.name}",
            remedy="your identity has to be allowed to make roles and policies; then run it again",
        )
