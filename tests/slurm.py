"""A real Slurm on this one machine, for the tests: several nodes, gone afterwards.

    python tests/slurm.py up FOLDER     # prints the SLURM_CONF to export
    python tests/slurm.py down FOLDER

Needs root and the programs that tests/install_programs.sh installs. Everything lives in
FOLDER, but for the link /etc/slurm/slurm.conf: the jobs that Snakemake starts know no
environment variable of Slurm, and find their configuration there only. A file or a
cluster that is there already is left alone.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CONFIGURATION = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# No systemd, no control groups, no data base: what a container has. Memory is looked at
# every second and a job above its share is killed. A node that does not answer for
# 15 seconds is down. Jobs that ended can be asked for during five minutes.
SETTINGS = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=pmi2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
SlurmdTimeout=15
ReturnToService=2
KillWait=2
OverTimeLimit=0
MinJobAge=300
"""


def why_not() -> str:
    """Return why no cluster can be started here; nothing if one can."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCHED)]
    if missing:
        return f"{', '.join(missing)} missing: tests/install_programs.sh installs them"
    if os.path.lexists(CONFIGURATION) and not is_left_over(CONFIGURATION):
        return f"{CONFIGURATION} is there already: this machine has a Slurm"
    return ""


def is_left_over(link: Path) -> bool:
    """Whether a configuration is the link of a cluster of ours that is gone."""
    if not link.is_symlink():
        return False
    pid = link.resolve().with_name("slurmctld.pid")
    return not (pid.exists() and is_alive(int(pid.read_text())))


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens to."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """The cluster of a folder.

    Parameters
    ----------
    folder : path-like
        Where its files are; made when it is missing.
    nodes : int
        Number of nodes, named node1 and so on.
    cpus : int
        CPUs that each node says it has.
    memory : int
        Memory that each node says it has [MB].
    """

    def __init__(self, folder, nodes=2, cpus=2, memory=8000):
        self.folder = Path(folder).resolve()
        self.nodes = [f"node{i + 1}" for i in range(nodes)]
        self.cpus, self.memory = cpus, memory

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that talks to the cluster."""
        return os.environ | {
            "PATH": SEARCHED,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def call(self, *command: str, check: bool = True) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def configure(self) -> None:
        """Write the configuration."""
        ports = free_ports(1 + len(self.nodes))
        text = SETTINGS.format(folder=self.folder, ports=ports)
        for name, port in zip(self.nodes, ports[1:], strict=True):
            text += (
                f"NodeName={name} NodeHostname={socket.gethostname().split('.')[0]}"
                f" NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus}"
                f" RealMemory={self.memory} State=UNKNOWN\n"
            )
            for kind in ("spool", "tmp"):
                (self.folder / f"{kind}.{name}").mkdir(exist_ok=True)
        text += f"PartitionName=all Nodes={','.join(self.nodes)} Default=YES State=UP\n"
        (self.folder / "slurm.conf").write_text(text)

    def up(self) -> None:
        """Start it and wait until all nodes are idle."""
        reason = why_not()
        if reason:
            raise RuntimeError(reason)
        for name in ("munge", "state"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # Every job must reach the socket, whatever the umask.
        for path in (self.folder, self.folder / "munge"):
            path.chmod(0o755)
        key = self.folder / "munge/key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self.configure()
        CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
        CONFIGURATION.unlink(missing_ok=True)
        CONFIGURATION.symlink_to(self.folder / "slurm.conf")
        names = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        munge = [f"--{n}={self.folder}/munge/{n.partition('-')[0]}" for n in names]
        try:
            self.call("munged", "--force", *munge)
            self.call("slurmctld", "-c")
            for name in self.nodes:
                self.start_node(name)
            self.wait_for_nodes()
        except BaseException:
            self.down()
            raise

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self.call("slurmd", "-N", name)

    def wait_for_nodes(self, seconds: float = 60) -> None:
        """Wait until all nodes are idle."""
        end = time.monotonic() + seconds
        states: set[str] = set()
        while time.monotonic() < end:
            told = self.call("sinfo", "-h", "-N", "-o", "%N %T", check=False)
            states = set(told.split("\n")) - {""}
            if states == {f"{name} idle" for name in self.nodes}:
                return
            time.sleep(0.1)
        raise RuntimeError(f"Slurm in {self.folder} is not ready: {sorted(states)}")

    def down(self) -> None:
        """End all jobs, then the daemons, by the process ids that they wrote down."""
        self.call("scancel", "--user=root", check=False)
        end = time.monotonic() + 20
        while self.call("squeue", "-h", check=False) and time.monotonic() < end:
            time.sleep(0.1)
        files = [*self.folder.glob("slurm*.pid"), self.folder / "munge/pid"]
        pids = [int(f.read_text()) for f in files if f.exists() and f.read_text()]
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGTERM)
        while any(map(is_alive, pids)) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)
        if CONFIGURATION.is_symlink() and CONFIGURATION.resolve().parent == self.folder:
            CONFIGURATION.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(__doc__)
    cluster = Cluster(sys.argv[2])
    if sys.argv[1] == "up":
        try:
            cluster.up()
        except RuntimeError as error:
            sys.exit(f"error: {error}")
        print(f"export SLURM_CONF={cluster.folder}/slurm.conf")
    else:
        cluster.down()
