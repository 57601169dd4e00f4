#!/usr/bin/env bash
# Snakemake runs this once in the new environment, from the folder of the Snakefile.
set -euo pipefail
pip install --no-deps --no-build-isolation .
