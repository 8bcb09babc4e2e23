"""The image in ECR: is it there, and the login that pushes to it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

from handful.errors import Absent, StepError
from handful.sagemaker.account.clients import Clients, told
from handful.sagemaker.account.findings import Finding, fine, trouble
from handful.sagemaker.account.places import Image, ecr_image

_BUILD = "`handful image build EXP` and `handful image push EXP` bring it there"


@dataclass(frozen=True)
class Login:
    """A registry's user and password, which lasts twelve hours."""

    registry: str
    user: str
    password: str = field(repr=False)


def image_findings(clients: Clients, uri: str | None) -> Iterator[Finding]:
    """Can SageMaker pull IMAGE_URI? Whether the role may is a question for the simulation."""
    what, image = "image", ecr_image(uri)
    if not uri:
        yield trouble(what, "[sagemaker] IMAGE_URI is not set", _BUILD)
        return
    if image is None:
        remedy = "write <account>.dkr.ecr.<region>.amazonaws.com/<repository>:<tag>"
        yield trouble(what, f"{uri} is in no repository of ECR", remedy)
        return
    if image.region != clients.region:
        found = f"it lies in {image.region}, the jobs run in {clients.region}"
        yield trouble(what, found, "push it to the jobs' region")
        return
    wanted = {"imageDigest": image.digest} if image.digest else {"imageTag": image.tag or ""}
    try:
        with told(f"DescribeImages {image.repository}"):
            answer = clients.of("ecr").describe_images(
                registryId=image.account, repositoryName=image.repository, imageIds=[wanted]
            )
            found = answer["imageDetails"][0]
    except Absent as error:
        missing = "repository" if "Repository" in error.fault.what else "image"
        yield trouble(what, f"there is no such {missing}: {uri}", _BUILD)
        return
    size, pushed = found.get("imageSizeInBytes", 0), found.get("imagePushedAt")
    said = f"{size / 1e9:.2f} GB to pull, pushed {pushed:%Y-%m-%d}" if pushed else "it is there"
    yield fine(what, said)


def login_of(clients: Clients, image: Image) -> Login:
    """A login for the image's registry. `Denied` if the identity may not have one."""
    with told("GetAuthorizationToken"):
        data = clients.of("ecr", image.region).get_authorization_token()["authorizationData"]
        if not data:
            raise StepError("ECR gave no login", where=image.registry)
        user, _, password = base64.b64decode(data[0]["authorizationToken"]).decode().partition(":")
    return Login(image.registry, user, password)
