"""A Slurm of one node on loopback, in a folder of its own."""

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
SlurmdPort=17818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
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
MinJobAge=300
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
GRES = "NodeName=localhost Name=gpu File=/dev/null\n"  # a GPU that only the scheduler knows


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
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        (folder / "slurm.conf").write_text(CONF.format(folder=folder))
        (folder / "gres.conf").write_text(GRES)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        options = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
        files = [f"--{option}={folder}/munge.{ending}" for option, ending in options.items()]
        self._start("munged", "--foreground", "--force", *files, f"--log-file={folder}/munge.log")
        while not (folder / "munge.socket").exists():
            assert self.processes["munged"].poll() is None, "munged ended"
            time.sleep(0.02)
        self._start("slurmctld", "-D")
        self.start_node()

    def _start(self, *words: str) -> None:
        program = shutil.which(words[0]) or f"/usr/sbin/{words[0]}"
        with (self.folder / f"{words[0]}.out").open("ab") as output:
            self.processes[words[0]] = subprocess.Popen(
                [program, *words[1:]], stdout=output, stderr=output
            )

    def start_node(self) -> None:
        """Start the node's daemon and wait until the node takes jobs."""
        self._start("slurmd", "-D", "-N", "localhost")
        deadline = time.monotonic() + 30
        while self.command("sinfo", "-h", "-o", "%T") not in ("idle", "mixed", "allocated"):
            assert time.monotonic() < deadline, self.command("sinfo")
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
