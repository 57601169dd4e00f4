"""Shows what `scaling-laws status` says while a workflow runs, fails and ends: `make status`.

Runs config/ci.yaml into a results folder of its own, damages a checkpoint on the way, mends it, and
writes docs/status.md.
"""

import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd

RESULTS = Path("results-status")
WORKFLOW = [
    "snakemake", "--configfile", "config/ci.yaml", "--config", f"results={RESULTS}", "--cores", "2",
]  # fmt: skip
PAGE = """\
# How far it has come

`scaling-laws status RESULTS` reads what Snakemake notes in `.snakemake/log`, and the curves that
runs have written so far: `RESULTS/runs/RUN/checkpoints/curve.csv`, with the columns of
`RESULTS/runs/RUN/curve.parquet`, which is there once the run has ended. On a cluster it asks
`squeue`, too. Its exit code is 1 where a job has failed or Snakemake was stopped or killed. When
the runs end is foretold by the times of those that have ended, and before there are four of them by
the plan. This page is what `make status` saw on two cores.

While runs are under way:

```
{during}
```

A checkpoint of a run has been damaged:

```
{failed}
```

It has been removed, and the same command given again:

```
{ended}
```
"""


def status() -> str:
    """Return what the command says now."""
    words = ["scaling-laws", "status", str(RESULTS)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.rstrip()
    return f"$ scaling-laws status {RESULTS}\n{said}"


def main() -> None:
    """Run, damage, mend, and write the page."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    running = subprocess.Popen(WORKFLOW, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while "test loss" not in (during := status()) or " 0 trained and" in during:
        if running.poll() is not None:
            raise SystemExit("the workflow ended before a run had a curve")
        time.sleep(1)
    plan = pd.read_csv(RESULTS / "plan/runs.tsv", sep="\t")
    last = plan.loc[plan["C_full"].idxmin(), "run"]  # the longest begin first
    damaged = RESULTS / "runs" / last / "checkpoints/state.pt"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("not what a run can go on from")
    running.wait()
    failed = status()
    damaged.unlink()
    subprocess.run(WORKFLOW, check=True, capture_output=True)
    page = PAGE.format(during=during, failed=failed, ended=status())
    Path("docs/status.md").write_text(page)
    shutil.rmtree(RESULTS)


if __name__ == "__main__":
    main()
