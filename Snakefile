# Scaling Laws for Neural Language Models (arXiv 2001.08361), from web pages to laws and figures.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=settings.results,
    logs=f"{settings.results}/logs",
    benchmarks=f"{settings.results}/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/sample.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/laws.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/cache.smk"


localrules:
    all,
    corpus,
    tokens,
    runs,
    fits,
    figures,
    # What `scaling-laws status` reads, within a second of the start.
    configuration,
    plan_study,
    plan,


rule all:
    default_target: True
    input:
        "<results>/report.html",
        "<results>/lineage/index.html",


rule corpus:
    input:
        "<results>/config.yaml",  # what `scaling-laws status` goes by
        "<results>/corpus/train.parquet",
        "<results>/corpus/test.parquet",
        "<results>/links/rejected.parquet",
        "<results>/crawl/outcomes.csv",
        expand("<results>/corpora/{name}.parquet", name=settings.corpora),


rule tokens:
    input:
        "<results>/config.yaml",
        expand("<results>/tokens/{name}.bin", name=["train", *EVALUATION_CORPORA]),


rule runs:
    input:
        "<results>/config.yaml",
        expand("<results>/tables/{table}.parquet", table=TABLES),


rule fits:
    input:
        "<results>/config.yaml",
        expand("<results>/fits/{law}.json", law=settings.fits.laws),


rule figures:
    input:
        "<results>/config.yaml",
        expand("<results>/figures/{name}.svg", name=DRAWN_FIGURES),


require_what_is_named()
