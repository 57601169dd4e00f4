"""A Slurm of two nodes, both of them this machine, on loopback and in a folder of its own."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM = Path("/etc/slurm")  # where the commands look that a job runs: it starts without SLURM_CONF
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CONF = """\
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs
GresTypes=gpu
MailProg=/bin/true
ReturnToService=2
KillWait=5
MinJobAge=7200
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17821-17822] CPUs=4 \
RealMemory=16000 Gres=gpu:2 State=UNKNOWN
PartitionName=one Nodes=n1 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=two Nodes=n[1-2] MaxTime=INFINITE State=UP OverSubscribe=NO
"""
# GPUs that only the scheduler knows.
GRES = "".join(f"NodeName=n[1-2] Name=gpu File=/dev/{name}\n" for name in ("null", "zero"))
NODES = ("n1", "n2")


def why_not() -> str | None:
    """Return why there can be no Slurm here, or None."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        return f"Slurm is not installed: no {', '.join(missing)}"
    if os.geteuid() != 0:
        return "Slurm's daemons have to be started by root"
    if (SYSTEM / "slurm.conf").exists():
        return f"{SYSTEM}/slurm.conf is there: this machine has a Slurm of its own"
    return None


class Cluster:
    """The daemons, by their processes."""

    def __init__(self, folder: Path) -> None:
        """Write the configuration and start the daemons; wait until the node is idle."""
        self.folder = folder
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        (folder / "slurm.conf").write_text(CONF.format(folder=folder))
        (folder / "gres.conf").write_text(GRES)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        options = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
        files = [f"--{option}={folder}/munge.{ending}" for option, ending in options.items()]
        self._start(
            "munged", "munged", "--foreground", "--force", *files, f"--log-file={folder}/munge.log"
        )
        while not (folder / "munge.socket").exists():
            assert self.processes["munged"].poll() is None, "munged ended"
            time.sleep(0.02)
        self._start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)

    def _start(self, name: str, *words: str) -> None:
        program = shutil.which(words[0]) or f"/usr/sbin/{words[0]}"
        with (self.folder / f"{name}.out").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [program, *words[1:]], stdout=output, stderr=output
            )

    def start_node(self, node: str) -> None:
        """Start a node's daemon and wait until the node takes jobs."""
        self._start(node, "slurmd", "-D", "-N", node)
        deadline = time.monotonic() + 30
        asked = ("sinfo", "-h", "-N", "-n", node, "-o", "%T")
        while self.command(*asked).split()[:1] not in (["idle"], ["mixed"], ["allocated"]):
            assert time.monotonic() < deadline, self.command("sinfo", "-N", "-l")
            time.sleep(0.1)

    def stop(self, name: str) -> None:
        """End a daemon."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=30)

    def finished(self) -> list[dict[str, str]]:
        """Return what Slurm noted of each job that has ended."""
        lines = (self.folder / "jobs").read_text().splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    @staticmethod
    def command(*words: str) -> str:
        """Return what one of Slurm's commands prints."""
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
        return (done.stdout + done.stderr).strip()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster and end it, with all its jobs."""
    SYSTEM.mkdir(exist_ok=True)
    # Sockets have short paths, and daemons trust no folder that others may write to.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    links = [SYSTEM / "slurm.conf", SYSTEM / "gres.conf"]
    try:
        for link in links:
            if not link.exists():
                link.unlink(missing_ok=True)  # left by tests that were killed
            link.symlink_to(folder / link.name)
        started = Cluster(folder)
        try:
            yield started
        finally:
            started.command("scancel", "--user", "root")
            deadline = time.monotonic() + 20
            while started.command("squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)
            for name in reversed(list(started.processes)):
                started.stop(name)
    finally:
        for link in links:
            link.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
