"""GPUs that only CUDA_VISIBLE_DEVICES knows, shared by processes that are real."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import SPEC

from scaling_laws import gpus
from scaling_laws.training.memory import CONTEXT, slots_of, training_memory

JOB = """
import json, os, sys, time
begin = time.monotonic()
time.sleep(float(sys.argv[2]))
row = [begin, time.monotonic(), os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(row) + "\\n")
"""


@pytest.fixture
def start(tmp_path):
    """Start a job that notes when it ran and what it saw."""
    (tmp_path / "job.py").write_text(JOB)
    started = []

    def begin(devices, *options, seconds=0.3):
        words = ["on-gpus", *options, "--", sys.executable, "job.py", "seen", str(seconds)]
        process = subprocess.Popen(
            [sys.executable, "-c", "from scaling_laws.cli import main; main()", *words],
            cwd=tmp_path,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


def seen(folder, processes):
    """Return what the jobs noted, once they have ended: (begin, end, devices) of each."""
    assert [process.wait(timeout=60) for process in processes] == [0] * len(processes)
    return [json.loads(line) for line in (folder / "seen").read_text().splitlines()]


def most_at_once(rows, device):
    """Return how many jobs were on a device at the same time, at the most."""
    mine = [row for row in rows if device in row[2]]
    return max((sum(begin <= at < end for begin, end, _ in mine) for at, _, _ in mine), default=0)


def test_two_slots_of_one_gpu_are_never_held_twice(start, tmp_path):
    jobs = [start("0", "--slots-per-gpu", "2", seconds=1) for _ in range(6)]
    rows = seen(tmp_path, jobs)
    assert len(rows) == 6
    assert most_at_once(rows, "0") == 2


def test_who_needs_all_slots_is_alone(start, tmp_path):
    jobs = [start("0", "--slots-per-gpu", "2", "--slots", str(slots)) for slots in (1, 2, 1, 2, 1)]
    rows = seen(tmp_path, jobs)
    held = [(begin, end) for begin, end, _ in rows]
    alone = [
        one for one in held if not any(a < one[1] and one[0] < b for a, b in held if (a, b) != one)
    ]
    assert most_at_once(rows, "0") <= 2
    assert len(alone) >= 2


def told(process, words):
    """Tell whether the first that a job says of where it runs, or waits to, are these words."""
    return words in next((line for line in process.stderr if " on " in line), "")


def test_jobs_go_to_the_emptiest_gpu_and_two_gpus_are_given_whole(start, tmp_path):
    first = start("3,5", "--slots-per-gpu", "2", seconds=300)
    assert told(first, "runs on 3")
    second = start("3,5", "--slots-per-gpu", "2", seconds=300)
    assert told(second, "runs on 5")
    pair = start("3,5", "--slots-per-gpu", "2", "--gpus", "2")
    assert told(pair, "waits for room on 3, 5")
    first.kill()
    (third,) = seen(tmp_path, [start("3,5", "--slots-per-gpu", "2")])
    assert third[2] == ["3"] and pair.poll() is None
    second.kill()
    assert seen(tmp_path, [pair])[-1][2] == ["3", "5"]


def test_the_slot_of_a_job_that_is_killed_is_free_again(start, tmp_path):
    killed = start("0", seconds=300)
    assert told(killed, "runs on 0")
    waiting = start("0")
    assert told(waiting, "waits for room on 0")
    killed.send_signal(signal.SIGKILL)
    assert len(seen(tmp_path, [waiting])) == 1


def quarter_of(start):
    """Start a job that has a quarter of a GPU until it is killed."""
    job = start("0", "--slots-per-gpu", "4", seconds=300)
    assert told(job, "runs on 0")
    return job


def test_jobs_that_divide_a_gpu_into_other_slots_see_each_others(start, tmp_path):
    first, second = (quarter_of(start) for _ in range(2))
    first.kill()
    first.wait()  # the second has no slot that begins where the GPU does
    whole = start("0")
    assert told(whole, "waits for room on 0")
    half = start("0", "--slots-per-gpu", "2")
    assert len(seen(tmp_path, [half])) == 1
    assert whole.poll() is None
    second.kill()
    assert len(seen(tmp_path, [whole])) == 2


@pytest.mark.parametrize(
    ("devices", "options", "said"),
    [
        ("0", ("--gpus", "2"), "2 GPUs wanted, and 1 are there: 0"),
        ("", (), "1 GPUs wanted, and 0 are there"),
        ("-1", (), "1 GPUs wanted, and 0 are there"),
        ("0,-2,1", ("--gpus", "2"), "2 GPUs wanted, and 1 are there: 0"),
        ("0,0", ("--gpus", "2"), "2 GPUs wanted, and 1 are there: 0"),
        ("0,-1,1", ("--gpus", "2"), "2 GPUs wanted, and 1 are there: 0"),
        ("0", ("--slots", "3", "--slots-per-gpu", "2"), "--slots 3: expected at most the 2"),
    ],
)
def test_what_cannot_be_had_is_refused_at_once(start, devices, options, said):
    job = start(devices, *options)
    assert job.wait(timeout=60) == 2
    assert said in job.stderr.read()


def driver(folder, says, code=0):
    """Write a driver's program that says so of its GPUs."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{says}\\n'\nexit {code}\n")
    (folder / "nvidia-smi").chmod(0o755)


@pytest.mark.parametrize(
    ("says", "there"),
    [
        ("0, GPU-11\\n1, GPU-22", ["GPU-11", "GPU-22"]),
        ("No devices were found", []),
        ("\\377", []),
    ],
)
def test_without_a_list_the_driver_is_asked(tmp_path, monkeypatch, says, there):
    driver(tmp_path, says)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible() == there


def test_a_driver_that_fails_is_heard(tmp_path, monkeypatch, caplog):
    driver(tmp_path, "It could not communicate.", code=9)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible() == []
    assert "nvidia-smi: It could not communicate." in caplog.text


def test_a_gpu_is_one_by_its_number_and_by_its_identifier(start, tmp_path, monkeypatch):
    driver(tmp_path, "0, GPU-11\\n1, GPU-22")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    holds = start("1", seconds=300)
    assert told(holds, "runs on 1")
    waits = start("GPU-22")
    assert told(waits, "waits for room on GPU-22")
    assert len(seen(tmp_path, [start("GPU-11,GPU-22")])) == 1
    holds.kill()
    assert len(seen(tmp_path, [waits])) == 2


def test_within_on_gpus_is_refused_what_would_wait_for_itself(tmp_path):
    words = [sys.executable, "-c", "from scaling_laws.cli import main; main()", "on-gpus", "--"]
    here = os.environ | {"CUDA_VISIBLE_DEVICES": "0", "TMPDIR": str(tmp_path)}
    done = subprocess.run([*words, *words, "true"], env=here, capture_output=True, text=True)
    assert done.returncode == 2 and "on-gpus within on-gpus" in done.stderr


def test_the_file_of_a_gpu_in_use_is_no_forgotten_one(start, tmp_path):
    first = start("0")
    seen(tmp_path, [first])
    (path,) = tmp_path.glob("scaling-laws-gpus-*/*/gpu-0")
    os.utime(path, (0, 0))
    seen(tmp_path, [start("0")])
    assert path.stat().st_mtime > 0


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGXFSZ])
def test_a_command_dies_of_what_python_ignores_as_it_would_alone(tmp_path, number):
    line = "from scaling_laws.cli import main; main()"
    words = ["on-gpus", "--", "sh", "-c", f"kill -{number.name[3:]} $$; exit 3"]
    here = os.environ | {"CUDA_VISIBLE_DEVICES": "0", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", line, *words], env=here, capture_output=True)
    assert done.returncode == -number


@pytest.mark.parametrize("name", ["MIG-GPU/1/0", "..", "turn", "\udcff"])
def test_a_device_may_have_any_name(start, tmp_path, name):
    (row,) = seen(tmp_path, [start(name)])
    assert row[2] == [name]


def test_a_command_that_is_missing_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(gpus.InputError, match="no-such-command: no such command"):
        gpus.on_gpus(["no-such-command"])


@given(d_model=st.integers(8, 4096).map(lambda width: 8 * width), gpu_slots=st.integers(1, 16))
def test_a_run_takes_slots_that_hold_its_memory_or_all(d_model, gpu_slots):
    spec = SPEC.model_copy(update={"d_model": d_model, "d_ff": 4 * d_model})
    needed = sum(training_memory(spec).values()) + CONTEXT
    slots = slots_of(spec, 40.0, gpu_slots)
    each = 40e9 / gpu_slots
    assert slots == gpu_slots or (slots - 1) * each < needed <= slots * each
