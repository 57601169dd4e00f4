"""A run on two processes is the run on one."""

import json
import signal
import subprocess
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from synthetic_tokens import SPEC, counting_tokens, outputs

from scaling_laws.training.loop import STATE, train

FIFTY = SPEC.model_copy(
    update={"steps": 50, "evaluations": 6, "dropout": 0.1, "micro_batches": 2, "snapshots": 1}
)
TORCHRUN = ("torchrun", "--standalone", "--nproc-per-node=2", "--no-python", "--", "scaling-laws")


def command(folder, out, spec=FIFTY, *options):
    words = ["train", "--spec", spec.model_dump_json(), "--device", "cpu", *options]
    for name, path in outputs(folder, out).items():
        words += [f"--{name}", str(path)]
    return words


def two_processes(folder, out, spec=FIFTY, *options):
    line = [*TORCHRUN, *command(folder, out, spec, *options)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return counting_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    train(spec=FIFTY, **outputs(folder, out))
    return out


@pytest.mark.parametrize("options", [(), ("--sharded",)], ids=["ddp", "fsdp2"])
def test_two_processes_give_the_losses_and_weights_of_one(folder, alone, tmp_path, options):
    done = two_processes(folder, tmp_path, FIFTY, *options)
    assert done.returncode == 0, done.stderr
    curves = [pd.read_parquet(path / "curve.parquet") for path in (alone, tmp_path)]
    measured = ["train_loss", "test_loss", "test_loss_se", "grad_sq_big"]
    if not options:  # sharded gradients are averaged before they are seen
        measured += ["grad_sq_small", "grad_tokens_small"]
    assert list(curves[0]["step"]) == list(curves[1]["step"])
    for name in measured:
        assert list(curves[1][name]) == pytest.approx(list(curves[0][name]), abs=1e-5), name
    for file in ("model.safetensors", *(f"snapshots/{p.name}" for p in alone.glob("snapshots/*"))):
        one, other = load_file(alone / file), load_file(tmp_path / file)
        assert one.keys() == other.keys()
        for name in one:
            weights, others = (_without_keys_bias(name, found[name]) for found in (one, other))
            assert others.allclose(weights, atol=1e-4), name
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["processes"] == 2 and facts["run"] == FIFTY.name


def _without_keys_bias(name, weights):
    """Leave out what attention does not depend on: Adam makes steps of its rounding errors."""
    if not name.endswith("query_key_value.bias"):
        return weights
    query, _, value = weights.chunk(3)
    return torch.cat([query, value])


@pytest.mark.parametrize("options", [(), ("--sharded",)], ids=["ddp", "fsdp2"])
def test_what_two_processes_have_saved_one_continues(folder, alone, tmp_path, options):
    line = [*TORCHRUN, *command(folder, tmp_path, FIFTY, *options, "--checkpoint-minutes", "1e-5")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        state = tmp_path / "checkpoints" / STATE
        deadline = time.monotonic() + 60
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    assert state.exists() and not (tmp_path / "run.json").exists()
    train(spec=FIFTY, **outputs(folder, tmp_path))
    losses = [pd.read_parquet(out / "curve.parquet")["test_loss"] for out in (alone, tmp_path)]
    assert list(losses[1]) == pytest.approx(list(losses[0]), abs=1e-5)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(folder, tmp_path):
    spec = FIFTY.model_copy(update={"batch_sequences": 3, "micro_batches": 1})
    done = two_processes(folder, tmp_path, spec)
    assert done.returncode != 0
    assert "3 sequences cannot be divided into 1 micro-batches on each of 2" in done.stderr
    assert "scaling_laws" not in done.stderr  # no traceback but torchrun's own
