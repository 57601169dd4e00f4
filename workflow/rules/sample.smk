# The embedded default. Needs the package index; gives the sample web, its link dump, and the
# sources of the other corpora.


rule download:
    input:
        code=sources("sample.packages"),
        pins="src/scaling_laws/sample/packages.txt",
    output:
        # The packages lie beside it. They are no outputs, so that a rerun keeps the whole ones.
        checksums="<resources>/packages/SHA256SUMS",
        lineage="<resources>/packages/lineage/download.json",
    log:
        "<logs>/download.log",
    benchmark:
        "<benchmarks>/download.tsv"
    retries: 1
    conda:
        "../../envs/crawl.yaml"
    resources:
        mem_mb=raised(500),
        runtime=raised(15),
    message:
        "Download the packages of the sample's text; progress in {log}"
    shell:
        "scaling-laws download --checksums {output.checksums}"
        " --lineage {output.lineage} --rule download &> {log}"


rule sample:
    input:
        code=sources("sample.build"),
        pins="src/scaling_laws/sample/packages.txt",
        packages="<resources>/packages/SHA256SUMS",
    output:
        site="<results>/sample/site.parquet",
        dump_2017="<results>/sample/RS_2017-11.zst",
        dump_2018="<results>/sample/RS_2018-03.zst",
        books="<results>/sample/books.jsonl",
        internet_books="<results>/sample/internet_books.jsonl",
        wikipedia="<results>/sample/wikipedia.xml.bz2",
        common_crawl="<results>/sample/common_crawl.warc.gz",
        lineage="<results>/sample/lineage/sample.json",
    log:
        "<logs>/sample.log",
    benchmark:
        "<benchmarks>/sample.tsv"
    conda:
        "../../envs/crawl.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        options=options(settings.sample),
    message:
        "Build the sample web and its link dump"
    shell:
        "scaling-laws sample $(dirname {input.packages}) --site {output.site}"
        " --dump-2017 {output.dump_2017} --dump-2018 {output.dump_2018}"
        " --books {output.books} --internet-books {output.internet_books}"
        " --wikipedia {output.wikipedia} --common-crawl {output.common_crawl}"
        " {params.options} --lineage {output.lineage} --rule sample &> {log}"
