# The laws, fitted to the tables of the studies that fits.laws names.
# Needs <results>/tables/{study}; gives <results>/fits.


rule fit:
    input:
        code=sources("laws.fit"),
        tables=get_law_tables,
    output:
        fit="<results>/fits/{law}.json",
        lineage="<results>/fits/lineage/{law}.json",
    log:
        "<logs>/fit/{law}.log",
    benchmark:
        "<benchmarks>/fit/{law}.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(30),
    params:
        folders=get_law_folders,
        options=options(settings.fits, leave_out={"laws"}),
    message:
        "Fit {wildcards.law}"
    shell:
        "scaling-laws fit {wildcards.law} {params.folders} --json {output.fit} {params.options}"
        " --lineage {output.lineage} --rule fit &> {log}"
