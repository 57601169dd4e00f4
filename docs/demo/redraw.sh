#!/bin/sh
# Fits the demo's tables anew, and draws what the README shows of them: `make pictures`.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r docs/demo/tables "$work/tables"
sizes=$work/tables/model_size data=$work/tables/data_size batches=$work/tables/batch_size
fit() {
	law=$1
	shift
	scaling-laws fit "$law" "$@" --minimum-layers 1 --json "$work/fits/$law.json" > /dev/null
}
fit L_N "$sizes"
fit L_D "$data"
fit L_C "$sizes"
fit N_C "$sizes"
fit L_ND "$sizes" "$data"
fit B_crit "$batches"
fit L_C_min "$sizes" "$batches"
fit L_NS "$sizes" "$batches"
fit N_opt "$sizes" "$batches"
scaling-laws figure fig01 "$work"
cp "$work/figures/fig01.svg" docs/demo/
scaling-laws report "$work" --output "$work/report.html" --comparison docs/demo/paper_vs_ours.csv
{
	echo '# What is made from what'
	echo
	echo 'The rules of the default workflow, drawn by `make pictures`.'
	echo
	echo '```mermaid'
	snakemake --rulegraph mermaid-js 2> /dev/null | grep -Ev '^(---|title)|style'
	echo '```'
} > docs/rules.md
scaling-laws summary "$work"
