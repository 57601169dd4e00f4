# Figures and the report page. Needs <results>/tables and <results>/fits, for the data's story the
# corpus and its tokens; gives <results>/figures and <results>/report.html.


rule figure:
    input:
        code=get_figure_code,
        tables=get_figure_tables,
        fits=get_figure_fits,
    output:
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png="<results>/figures/{figure}.png",
        csv="<results>/figures/{figure}.csv",
    log:
        "<logs>/figure/{figure}.log",
    benchmark:
        "<benchmarks>/figure/{figure}.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        results=get_results,
        corpora=get_titles,
    message:
        "Draw {wildcards.figure}"
    shell:
        "scaling-laws figure {wildcards.figure} --tables {params.results}/tables --fits {params.results}/fits"
        " --corpora {params.corpora:q} --svg {output.svg} --png {output.png} --csv {output.csv}"
        " &> {log}"


rule report:
    input:
        code=sources("report.page"),
        template="src/scaling_laws/report/page.html.jinja",
        config="<results>/config.yaml",
        plan="<results>/plan/runs.tsv",
        links=multiext("<results>/links/", "links.parquet", "rejected.parquet"),
        outcomes=expand("<results>/crawl/{shard}.parquet", shard=SHARDS),
        reasons=multiext("<results>/crawl/", "outcomes.csv", "hosts.csv"),
        documents=expand("<results>/documents/{shard}.parquet", shard=SHARDS),
        corpus=expand(
            "<results>/corpus/{name}.parquet",
            name=["documents", "duplicates", "train", "test", "leaks"],
        ),
        corpora=expand("<results>/corpora/{name}.parquet", name=settings.corpora),
        tokens=expand(
            "<results>/tokens/{name}.json", name=["train", *EVALUATION_CORPORA]
        ),
        tables=expand("<results>/tables/{table}.parquet", table=TABLES),
        fits=expand("<results>/fits/{law}.json", law=settings.fits.laws),
        figures=expand("<results>/figures/{name}.svg", name=DRAWN_FIGURES),
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
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        results=get_results,
    message:
        "Write the report"
    shell:
        "scaling-laws report {params.results} --output {output.page} --comparison {output.comparison}"
        " &> {log}"
