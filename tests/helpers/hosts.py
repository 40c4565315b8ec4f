"""Hosts to reach over ssh: each with a name, an address, processes, /tmp and a home of its own, and a real sshd.

They are namespaces of this computer, on a network of their own that reaches the world through it, with a folder that
all of them share as over NFS. Nothing of the developer's environment is there: one user, whose homes are empty, and
who may use sudo where that is installed.

Where namespaces are not allowed there is one host, which is this computer, reached on loopback.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT

from tests.helpers import ROOT
from tests.helpers.machines import free_port, until

SHARED = Path("/mnt/shared")
"""As cluster/on_prem.yaml has it."""
NEEDED = ("sshd", "ssh", "ssh-keygen", "rsync", "nc", "useradd", "userdel")
# Where to get packages from, and whom to trust: what an administrator sets for the whole machine.
ADMINISTRATORS = re.compile(r"^(PIP_|SSL_|REQUESTS_CA|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)")


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def run(*command: str | Path) -> str:
    """Raises OSError where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=DEVNULL)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """A switch, and through this computer the world. Raises OSError where this computer does not allow that."""

    def __init__(self):
        self._name = f"am{secrets.token_hex(3)}"
        self.prefix = f"10.{secrets.randbelow(200) + 50}.{secrets.randbelow(256)}"
        self._undo = contextlib.ExitStack()
        self._plugged: dict[int, tuple[str, str]] = {}
        try:
            self._do(["ip", "link", "add", self._name, "type", "bridge"], ["ip", "link", "del", self._name])
            self._do(["ip", "addr", "add", f"{self.prefix}.1/24", "dev", self._name])
            self._do(["ip", "link", "set", self._name, "up"])
            forward, net = Path("/proc/sys/net/ipv4/ip_forward"), f"{self.prefix}.0/24"
            self._undo.callback(forward.write_text, forward.read_text())
            forward.write_text("1\n")
            rule = ["POSTROUTING", "-s", net, "!", "-d", net, "-j", "MASQUERADE"]
            self._do(["iptables", "-t", "nat", "-A", *rule], ["iptables", "-t", "nat", "-D", *rule])
        except BaseException:
            self.close()
            raise

    def plug(self, number: int) -> tuple[str, str]:
        """The name of its network namespace, and its address."""
        if number in self._plugged:
            return self._plugged[number]
        name, address = f"{self._name}h{number}", f"{self.prefix}.{number + 10}"
        self._do(["ip", "netns", "add", name], ["ip", "netns", "del", name])
        self._do(["ip", "link", "add", f"{self._name}p{number}", "type", "veth", "peer", "name", "eth0", "netns", name])
        self._do(["ip", "link", "set", f"{self._name}p{number}", "master", self._name, "up"])
        self._do(["ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0"])
        for device in ("eth0", "lo"):
            self._do(["ip", "-n", name, "link", "set", device, "up"])
        self._do(["ip", "-n", name, "route", "add", "default", "via", f"{self.prefix}.1"])
        public = self.public(number)
        self._do(["ip", "-n", name, "addr", "add", f"{public}/32", "dev", "eth0"])
        self._do(["ip", "route", "add", f"{public}/32", "dev", self._name])
        self._plugged[number] = name, address
        return name, address

    def public(self, number: int) -> str:
        """A second address of a host, which looks as if the world knew it."""
        return f"11.{self.prefix.partition('.')[2]}.{number + 10}"

    def set(self, number: int, state: str) -> None:
        """down: the cable of that host is pulled; up: it is there again."""
        run(program("ip"), "link", "set", f"{self._name}p{number}", state)

    def close(self) -> None:
        self._undo.close()

    def _do(self, command: Sequence[str], undo: Sequence[str] = ()) -> None:
        run(program(command[0]) or command[0], *command[1:])
        if undo:
            self._undo.callback(subprocess.run, [program(undo[0]), *undo[1:]], capture_output=True)


@dataclass
class Host:
    """One of them."""

    address: str
    port: int
    """Where its sshd listens."""
    home: Path
    """Its user's, seen from outside."""
    sshd: subprocess.Popen
    enter: list[str | Path]
    """The beginning of a command that is run there."""
    user: str

    def run(self, *command: str | Path) -> str:
        """As root."""
        return run(*self.enter, *command)

    def processes(self) -> list[str]:
        """Of its user, without those of sshd."""
        listed = self.run("ps", "-ww", "-e", "-o", "user:32,args").splitlines()
        return [
            args
            for user, _, args in (line.partition(" ") for line in listed)
            if user == self.user and "sshd" not in args
        ]

    def power_off(self) -> None:
        """At once. On loopback sshd alone."""
        self.sshd.kill()  # or what started the host's first process, and all others end with that
        self.sshd.wait()


class Hosts:
    """`number` of them, the first one for the head; one, where there are no namespaces, and no network then."""

    def __init__(self, number: int):
        self.folder = Path(f"/var/tmp/astmoa-{uuid.uuid4().hex[:8]}")  # not in /tmp, of which each host has its own
        self.user = f"moa{uuid.uuid4().hex[:8]}"
        self.home = self.folder / "home" / self.user
        """As each of them sees its own."""
        self.laptop = self.folder / "laptop"
        self.network: Network | None = None
        self.hosts: dict[int, Host] = {}
        self._numbers = itertools.count()
        try:
            self._prepare()
            with contextlib.suppress(OSError):
                self.network = Network()
            for place in range(number if self.network else 1):
                self.power_on(place)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, place: int) -> Host:
        return self.hosts[place]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def __len__(self) -> int:
        return len(self.hosts)

    def _prepare(self) -> None:
        for folder in ("home", "shared", "packages", "laptop"):
            (self.folder / folder).mkdir(parents=True)
        run(program("useradd"), "--no-create-home", "--home-dir", self.home, "--shell", "/bin/bash", self.user)
        run(program("usermod"), "--password", "*", self.user)  # no password; but not locked, as ssh would have it
        run("chown", self.user, self.folder / "shared", self.folder / "packages")
        for key in ("key", "host"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key)
        Path("/run/sshd").mkdir(exist_ok=True)

    def power_on(self, place: int, empty: bool = True) -> Host:
        """It comes as it was, or with nothing on its disk."""
        own = self.folder / f"host{place}"
        home = own / "home" if self.network else self.home
        if empty:
            shutil.rmtree(own, ignore_errors=True)
            home.mkdir(parents=True)
            shutil.copytree("/etc/skel", home, dirs_exist_ok=True)
            pip = Path(os.environ.get("PIP_CONFIG_FILE", Path.home() / ".config/pip/pip.conf"))
            if pip.is_file():
                (home / ".config/pip").mkdir(parents=True)
                shutil.copyfile(pip, home / ".config/pip/pip.conf")
            run("chown", "-R", self.user, home)
        own.mkdir(exist_ok=True)
        within, address, port = [], "127.0.0.1", free_port()
        if self.network:
            space, address, port = *self.network.plug(place), 22
            (own / "tmp").mkdir(exist_ok=True)
            (own / "tmp").chmod(0o1777)
            script = f"""
                hostname host{place}
                (cat /etc/hosts; echo 127.0.1.1 host{place}) >{own}/hosts
                mount --bind {own}/hosts /etc/hosts
                mount -t tmpfs none {self.folder}/home
                ln -s {home} {self.home}
                mount -t tmpfs none /dev/shm
                mount -t tmpfs none /mnt
                mkdir {SHARED}
                mount --bind {self.folder}/shared {SHARED}
                mount --bind {own}/tmp /tmp
                mkdir -p /run/astmoa
                mount -t tmpfs -o mode=755 none /run/astmoa
                if [ -d /etc/sudoers.d ]; then
                    mount -t tmpfs -o mode=755 none /etc/sudoers.d
                    (umask 0337 && echo "{self.user} ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/{self.user})
                fi
                "$@" || exit 1"""  # not exec: the first process has to wait for orphans, as sh does
            spaces = ["--mount", "--mount-proc", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
            within = [program("ip"), "netns", "exec", space, "unshare", *spaces, "sh", "-ec", script, "sh"]
        # Packages are kept once, and compiled once: five gigabytes for each host would be many.
        given = {k: v for k, v in os.environ.items() if ADMINISTRATORS.match(k) and v}
        kept = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "PYTHONPYCACHEPREFIX": "compiled"}
        given |= {name: f"{self.folder}/packages/{folder}" for name, folder in kept.items()}
        config = [
            f"Port {port}",
            f"ListenAddress {address}",
            f"HostKey {self.folder / 'host'}",
            f"AuthorizedKeysFile {self.folder / 'key.pub'}",
            *("UsePAM no", "StrictModes no", "PasswordAuthentication no", "PidFile none"),
            "SetEnv " + " ".join(f'{name}="{value}"' for name, value in given.items()),
        ]
        (own / "sshd_config").write_text("\n".join(config) + "\n")
        command = [*within, program("sshd"), "-D", "-f", own / "sshd_config", "-E", own / "sshd.log"]
        sshd = subprocess.Popen(command, stdin=DEVNULL)
        until(lambda: answers(address, port), f"sshd of host {place}")
        enter = []
        if self.network:
            first = run("pgrep", "-P", str(sshd.pid)).strip()
            enter = ["nsenter", "--target", first, "--all"]
        self.hosts[place] = Host(address, port, home, sshd, enter, self.user)
        return self.hosts[place]

    def ray(self, command: str, *arguments: str | Path, check: bool = True, timeout: int = 400) -> str:
        """The user's `ray`, in the checkout, with nothing but a home and a path in its environment."""
        with self.started(command, *arguments) as (process, told):
            self.code = process.wait(timeout)
        assert not check or self.code == 0, words(told)
        return told.read_text()

    @contextlib.contextmanager
    def started(self, command: str, *arguments: str | Path) -> Iterator[tuple[subprocess.Popen, Path]]:
        """The same, while it runs, and the file of all that it tells (a pipe fills up); killed at the end."""
        environment = {
            "HOME": str(self.laptop),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin",
            "LANG": "C.UTF-8",
        }
        line = ["ray", command, *map(str, arguments)]
        told = self.folder / f"told-{next(self._numbers)}"
        with told.open("wb") as file:
            streams = {"stdin": PIPE, "stdout": file, "stderr": STDOUT}
            process = subprocess.Popen(line, cwd=ROOT, env=environment, start_new_session=True, **streams)
        try:
            yield process, told
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        for host in self.hosts.values():
            host.power_off()
        subprocess.run(["pkill", "-KILL", "-u", self.user])
        if self.network:
            self.network.close()
        until(
            lambda: subprocess.run([program("userdel"), self.user], capture_output=True).returncode in (0, 6), "userdel"
        )
        shutil.rmtree(self.folder, ignore_errors=True)


def answers(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def words(told: Path) -> str:
    """What a `ray` command told that says why it failed: no frames of a live display, nothing of Ray's own log."""
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).strip() for line in told.read_text().splitlines()]
    noise = re.compile(r"━|device-seconds:|\d{4}-\d\d-\d\d .*(INFO|WARN)|[\d:]+ gone|$")
    return "\n".join(line for line in lines if not noise.match(line))[-4000:]
