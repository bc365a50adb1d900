"""A Docker engine of the test's own: in a network namespace, with its data in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support import PATIENCE, wait_for

HERE: Final = Path(__file__).parent

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Namespace:
    """A network namespace, in which names may lead to addresses of its own."""

    name: str
    folder: Path
    """For its file of hosts."""

    def command(self, *command: str) -> list[str]:
        """`command` as it is run in the namespace."""
        hosts = f'mount --bind "{self.folder}/{self.name}.hosts" /etc/hosts && exec "$@"'
        into = ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount"]
        return [*into, "sh", "-c", hosts, "sh", *command]

    def run(self, *command: str, check: bool = True, **options: Any) -> Done:
        """Run a command to its end."""
        return run(self.command(*command), check=check, **options)

    def know(self, *names: str, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        """Let `names` lead to `addresses`, and localhost to itself."""
        lines = [f"{address} {name}\n" for address in addresses for name in names]
        hosts = self.folder / f"{self.name}.hosts"
        hosts.write_text("".join(["127.0.0.1 localhost\n", *lines]))


@dataclass
class Engine:
    """A running engine. Commands are Docker's."""

    programs: Path
    folder: Path
    namespace: Namespace
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def environment(self) -> dict[str, str]:
        """For Docker's client, and for what calls it."""
        return {
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "DOCKER_CONFIG": str(self.programs / "docker"),
            "PATH": f"{self.programs / 'bin'}:{os.environ['PATH']}",
        }

    def __call__(self, *arguments: str, **options: Any) -> str:
        """Run `docker`; gives what it prints."""
        return run(["docker", *arguments], environment=self.environment, **options).stdout.strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine knows of a container, image, volume or network."""
        found: dict[str, Any] = json.loads(self("inspect", name))[0]
        return found

    def start(self) -> None:
        """Start the engine; what it keeps is in its folder."""
        log = (self.folder / "engine.log").open("ab")
        command = [HERE / "start-engine", self.namespace.name, self.programs, self.folder]
        self.process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        log.close()
        wait_for(self._answers, "the engine does not answer")

    def _answers(self) -> bool:
        asked = ["docker", "version", "--format", "{{.Server.Version}}"]
        return run(asked, environment=self.environment, check=False).returncode == 0

    def stop(self) -> None:
        """Stop the engine as a machine does that is shut down: containers end with it."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    @contextmanager
    def online(self) -> Iterator[None]:
        """Let the engine reach package indexes."""
        path = f"--netns-type=path /run/netns/{self.namespace.name}".split()
        options = ["--configure", "--mtu=1400", "--disable-host-loopback", *path]
        process = subprocess.Popen(
            ["slirp4netns", *options, "tap0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def engine(programs: Path, folder: Path, name: str) -> Iterator[Engine]:
    """An engine that keeps everything in `folder`, in a new network namespace."""
    with namespace(name, folder) as own:
        it = Engine(programs, folder, own)
        it.start()
        try:
            yield it
        finally:
            it.stop()


@contextmanager
def namespace(name: str, folder: Path) -> Iterator[Namespace]:
    """A new network namespace."""
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "-netns", name, "link", "set", "lo", "up"])
        own = Namespace(name, folder)
        own.know()
        yield own
    finally:
        run(["ip", "netns", "delete", name])


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    **options: Any,
) -> Done:
    """Run a command to its end; if it fails, the error shows what it said."""
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **(environment or {})},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    if check and done.returncode:
        said = f"{done.stdout or ''}{done.stderr}"[-4000:]
        raise RuntimeError(
            f"{' '.join(map(str, command[:6]))} ended with {done.returncode}:\n{said}"
        )
    return done


@contextmanager
def cable(
    inner: Namespace, outer: Namespace, addresses: dict[str, Sequence[str]]
) -> Iterator[None]:
    """Connect two namespaces; `addresses` are those of each, with their prefixes.

    The cable goes away with either of them.
    """
    ends = {inner.name: "olens-in", outer.name: "olens-out"}
    link = ["ip", "-netns", inner.name, "link", "add", ends[inner.name], "type", "veth"]
    run([*link, "peer", "name", ends[outer.name], "netns", outer.name])
    for own in ends:
        for address in addresses[own]:
            options = ["nodad"] if ":" in address else []
            run(["ip", "-netns", own, "address", "add", address, "dev", ends[own], *options])
        run(["ip", "-netns", own, "link", "set", ends[own], "up"])
    yield
