# Figures, the report page and the page of lineage. Needs <results>/tables and <results>/fits, for
# the data's story the corpus and its tokens; gives <results>/figures, <results>/report.html and
# <results>/lineage/index.html.


rule flow:
    input:
        code=sources("corpus.flow"),
        links=multiext("<results>/links/", "links.parquet", "rejected.parquet"),
        outcomes=expand("<results>/crawl/{shard}.parquet", shard=SHARDS),
        documents=expand("<results>/documents/{shard}.parquet", shard=SHARDS),
        rejected=expand("<results>/documents/{shard}.rejected.parquet", shard=SHARDS),
        signatures="<results>/dedup/signatures/0.parquet",
        corpus=expand(
            "<results>/corpus/{name}.parquet",
            name=["documents", "duplicates", "train", "test", "leaks"],
        ),
        corpora=expand("<results>/corpora/{name}.parquet", name=settings.corpora),
        tokens=expand(
            "<results>/tokens/{name}.json", name=["train", *EVALUATION_CORPORA]
        ),
    output:
        flow="<results>/tables/flow.csv",
        duplicates="<results>/tables/duplicates.csv",
        lineage="<results>/tables/lineage/flow.json",
    log:
        "<logs>/flow.log",
    benchmark:
        "<benchmarks>/flow.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(60),
    params:
        results=get_results,
        shards=len(SHARDS),
        threshold=settings.dedup.threshold,
        corpora=" ".join(f"--corpora {name}" for name in settings.corpora),
    message:
        "Count what the corpus stages kept and dropped"
    shell:
        "scaling-laws flow {params.results} --shards {params.shards} {params.corpora}"
        " --threshold {params.threshold} --output {output.flow} --duplicates {output.duplicates}"
        " --lineage {output.lineage} --rule flow &> {log}"


rule held_out:
    input:
        code=sources("laws.judge"),
        tables=get_judged_tables,
    output:
        table="<results>/tables/held_out.csv",
        lineage="<results>/tables/lineage/held_out.json",
    log:
        "<logs>/held_out.log",
    benchmark:
        "<benchmarks>/held_out.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(60),
    params:
        laws=get_judged_laws,
        options=options(
            settings.fits,
            only={"bootstrap", "confidence", "minimum_layers", "seed"},
        ),
    message:
        "Foretell the largest runs from the others"
    shell:
        "scaling-laws held-out {params.laws} --output {output.table} {params.options}"
        " --lineage {output.lineage} --rule held_out &> {log}"


rule conventions:
    input:
        code=sources("laws.conventions"),
        tables=get_convention_tables,
        fits=get_convention_fits,
    output:
        table="<results>/tables/conventions.csv",
        lineage="<results>/tables/lineage/conventions.json",
    log:
        "<logs>/conventions.log",
    benchmark:
        "<benchmarks>/conventions.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(60),
    params:
        studies=get_convention_studies,
        fits=get_convention_laws,
        results=get_results,
        options=options(
            settings.fits,
            only={"bootstrap", "confidence", "minimum_layers", "seed"},
        ),
    message:
        "Fit the best size under every convention"
    shell:
        "scaling-laws conventions {params.studies} --fits {params.results}/fits {params.fits}"
        " --output {output.table} {params.options}"
        " --lineage {output.lineage} --rule conventions &> {log}"


rule figure:
    input:
        code=get_figure_code,
        tables=get_figure_tables,
        fits=get_figure_fits,
        files=get_figure_files,
    output:
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../report/figure.rst",
            category=get_figure_category,
            labels=get_figure_labels,
        ),
        others=multiext("<results>/figures/{figure}", ".png", ".csv", ".json"),
        lineage="<results>/figures/lineage/{figure}.json",
    log:
        "<logs>/figure/{figure}.log",
    benchmark:
        "<benchmarks>/figure/{figure}.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        results=get_results,
        corpora=get_titles,
        studies=get_figure_studies,
        laws=get_figure_laws,
        caption=get_figure_caption,
    message:
        "Draw {wildcards.figure}"
    shell:
        "scaling-laws figure {wildcards.figure} {params.results} --studies={params.studies:q}"
        " --laws={params.laws:q} --corpora {params.corpora:q}"
        " --lineage {output.lineage} --rule figure &> {log}"


rule report:
    input:
        code=sources("report.page"),
        templates=[
            "src/scaling_laws/report/page.html.jinja",
            "src/scaling_laws/page.css.jinja",
            "src/scaling_laws/sortable.js.jinja",
        ],
        config="<results>/config.yaml",
        plan="<results>/plan/runs.tsv",
        counts=multiext("<results>/tables/", "flow.csv", "held_out.csv"),
        reasons=multiext("<results>/crawl/", "outcomes.csv", "hosts.csv"),
        tables=expand("<results>/tables/{table}.parquet", table=TABLES),
        fits=expand("<results>/fits/{law}.json", law=settings.fits.laws),
        figures=expand(
            "<results>/figures/{name}.{ending}",
            name=DRAWN_FIGURES,
            ending=["svg", "json"],
        ),
    output:
        page=report(
            "<results>/report.html", caption="../report/page.rst", category="Report"
        ),
        comparison=report(
            "<results>/tables/paper_vs_ours.csv",
            caption="../report/comparison.rst",
            category="Report",
        ),
        markdown="<results>/tables/paper_vs_ours.md",
        lineage="<results>/lineage/report.json",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        results=get_results,
    message:
        "Write the report"
    shell:
        "scaling-laws report {params.results}"
        " --output {output.page} --comparison {output.comparison}"
        " --lineage {output.lineage} --rule report &> {log}"


# Of the manifests, and so without one of its own.
rule lineage:
    input:
        code=sources("lineage.page"),
        templates=[
            "src/scaling_laws/lineage/page.html.jinja",
            "src/scaling_laws/page.css.jinja",
            "src/scaling_laws/sortable.js.jinja",
        ],
        last="<results>/lineage/report.json",  # of what the report rests on all manifests are there
    output:
        page=report(
            "<results>/lineage/index.html",
            caption="../report/lineage.rst",
            category="Report",
        ),
    log:
        "<logs>/lineage.log",
    benchmark:
        "<benchmarks>/lineage.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        results=get_results,
    message:
        "Write the page of lineage"
    shell:
        "scaling-laws lineage {params.results} --output {output.page} &> {log}"


# On demand. As of the manifests above, without one of its own.
rule crate:
    input:
        code=sources("lineage.crate"),
        workflow="Snakefile",
        last="<results>/lineage/report.json",
    output:
        metadata="<results>/ro-crate-metadata.json",
        workflow=directory("<results>/lineage/workflow"),
    log:
        "<logs>/crate.log",
    benchmark:
        "<benchmarks>/crate.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(60),
    params:
        results=get_results,
    message:
        "Describe the results as a Workflow Run RO-Crate"
    shell:
        "scaling-laws crate {params.results} --workflow {input.workflow} &> {log}"
