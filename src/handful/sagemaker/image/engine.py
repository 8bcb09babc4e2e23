"""Docker or podman, whichever works here: the few words that both understand."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handful.errors import StepError, UserError
from handful.progress import Progress
from handful.sagemaker.account.registry import Login

ENGINES = ("docker", "podman")
_ENGINE_OUTPUT_TAIL = 15
_ENGINE_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Engine:
    """A program that builds and pushes images."""

    name: str
    progress: Progress

    def build(
        self,
        folder: Path,
        dockerfile: Path,
        tag: str,
        arguments: Mapping[str, str],
        more: Sequence[str] = (),
    ) -> None:
        """Build `tag`; `more` are the user's own words for the engine. `StepError` if it fails."""
        given = [
            word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")
        ]
        words = ["build", "--tag", tag, "--file", str(dockerfile), *given, *more, str(folder)]
        self._run_with_output(words, f"building {tag}")

    def has(self, tag: str) -> bool:
        """Is there such an image on this machine?"""
        return self._quiet("image", "inspect", tag).returncode == 0

    def size(self, tag: str) -> int:
        """Bytes on this machine, unpacked. `StepError` if there is no such image."""
        done = self._quiet("image", "inspect", "--format", "{{.Size}}", tag)
        if done.returncode:
            raise StepError(f"there is no image {tag}", where=self.name, remedy="build it first")
        return int(done.stdout.strip())

    def tag(self, image: str, name: str) -> None:
        """Give `image` another name."""
        self._run_with_output(["tag", image, name], f"naming {name}")

    def run(
        self, tag: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the image, without a network, and remove the container."""
        given = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
        words = ["run", "--rm", "--network", "none", *given]
        words += ["--entrypoint", command[0], tag, *command[1:]]
        return self._quiet(*words, seconds=600)

    def push(self, tag: str, login: Login | None, more: Sequence[str] = ()) -> str:
        """Push `tag`; its digest, empty if the engine does not tell.

        The login is handed over on standard input and kept in a private folder that is removed;
        without one the engine's own logins count. `StepError` if the registry refuses.
        """
        with tempfile.TemporaryDirectory(prefix="handful-push-") as private:
            before, after = self._private(Path(private)) if login else ([], [])
            if login:
                words = ["login", *after, "--username", login.user, "--password-stdin"]
                command = [self.name, *before, *words, login.registry]
                done = subprocess.run(
                    command, input=login.password, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise StepError(
                        f"{self.name} could not log in: {done.stderr.strip()[-500:]}",
                        where=login.registry,
                        remedy="is the registry within reach of this machine?",
                    )
            digest_file = Path(private) / "digest"
            told = ["--digestfile", str(digest_file)] if self.name == "podman" else []
            self._run_with_output([*before, "push", *after, *told, *more, tag], f"pushing {tag}")
            if digest_file.is_file():
                return digest_file.read_text().strip()
        return self._digest(tag)

    def _private(self, folder: Path) -> tuple[list[str], list[str]]:
        """Words before and after the verb that keep logins in `folder`."""
        if self.name == "podman":
            return [], ["--authfile", str(folder / "auth.json")]
        return ["--config", str(folder)], []

    def _digest(self, tag: str) -> str:
        """Docker notes at the image what a registry called it."""
        done = self._quiet("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', tag)
        repository = tag.rpartition(":")[0]
        for line in done.stdout.split():
            name, _, digest = line.partition("@")
            if name == repository:
                return digest
        return ""

    def _quiet(
        self, *words: str, seconds: float = _ENGINE_TIMEOUT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.name, *words], capture_output=True, text=True, check=False, timeout=seconds
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"`{self.name} {words[0]}` did not end within {seconds:.0f} s",
                where=self.name,
                remedy="is its daemon well?",
            ) from error

    def _run_with_output(self, words: Sequence[str], doing: str) -> None:
        """Run to the end; each line is told as it comes."""
        with subprocess.Popen(
            [self.name, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            last: deque[str] = deque(maxlen=_ENGINE_OUTPUT_TAIL)
            for line in process.stdout or ():
                self.progress.note(line.rstrip())
                last.append(line.rstrip())
        if process.returncode:
            raise StepError(
                f"{self.name} left with status {process.returncode}:\n" + "\n".join(last),
                where=doing,
                remedy="mend what its last lines name, and run the same command again",
            )


def find_engine(progress: Progress, wanted: str | None = None) -> Engine:
    """`wanted`, or the first of docker and podman that answers. `UserError` if none does."""
    if wanted is not None and wanted not in ENGINES:
        raise UserError(f"{wanted!r} is no engine", where="--engine", remedy="docker or podman")
    for name in [wanted] if wanted else ENGINES:
        # Docker's client without its daemon cannot build.
        if shutil.which(name) and Engine(name, progress)._quiet("info").returncode == 0:
            return Engine(name, progress)
    raise UserError(
        f"{wanted or 'neither docker nor podman'} works here",
        where="handful image",
        remedy="install podman (Debian: apt-get install podman), or start docker's daemon",
    )
