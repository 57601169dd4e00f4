# From link dumps to a training and a test split, and the other corpora.
# Needs the dumps that links.dumps names; gives <results>/corpus and <results>/corpora.


rule links:
    input:
        code=sources("corpus.links"),
        dumps=get_dumps,
    output:
        links="<results>/links/links.parquet",
        rejected="<results>/links/rejected.parquet",
    log:
        "<logs>/links.log",
    benchmark:
        "<benchmarks>/links.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=options(settings.links, leave_out={"dumps"}),
    message:
        "Select links from {input.dumps}"
    shell:
        "scaling-laws links {input.dumps} --output {output.links} --rejected {output.rejected}"
        " {params.options} &> {log}"


rule crawl:
    input:
        code=sources("corpus.crawl"),
        links="<results>/links/links.parquet",
        site=get_site,
    output:
        warc="<results>/crawl/{shard}.warc.gz",
        outcomes="<results>/crawl/{shard}.parquet",
    log:
        "<logs>/crawl/{shard}.log",
    benchmark:
        "<benchmarks>/crawl/{shard}.tsv"
    conda:
        "../../envs/crawl.yaml"
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        site=get_site_option,
        options=options(settings.crawl),
    message:
        "Crawl shard {wildcards.shard}; progress in {log}"
    shell:
        "scaling-laws crawl {input.links} --shard {wildcards.shard}"
        " --warc {output.warc} --outcomes {output.outcomes}"
        " {params.site} {params.options} &> {log}"


rule extract:
    input:
        code=sources("corpus.extract"),
        warc="<results>/crawl/{shard}.warc.gz",
    output:
        documents="<results>/documents/{shard}.parquet",
        rejected="<results>/documents/{shard}.rejected.parquet",
    log:
        "<logs>/extract/{shard}.log",
    benchmark:
        "<benchmarks>/extract/{shard}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        options=options(settings.extract),
    message:
        "Extract the text of shard {wildcards.shard}; progress in {log}"
    shell:
        "scaling-laws extract {input.warc} --output {output.documents}"
        " --rejected {output.rejected} --workers {threads} {params.options} &> {log}"


rule dedup:
    input:
        code=sources("corpus.dedup"),
        documents=expand("<results>/documents/{shard}.parquet", shard=SHARDS),
        links="<results>/links/links.parquet",
    output:
        documents="<results>/corpus/documents.parquet",
        duplicates="<results>/corpus/duplicates.parquet",
    log:
        "<logs>/dedup.log",
    benchmark:
        "<benchmarks>/dedup.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        options=options(settings.dedup),
    message:
        "Drop duplicates"
    shell:
        "scaling-laws dedup {input.documents} --links {input.links}"
        " --output {output.documents} --duplicates {output.duplicates}"
        " {params.options} &> {log}"


rule split:
    input:
        code=sources("corpus.split"),
        documents="<results>/corpus/documents.parquet",
    output:
        train="<results>/corpus/train.parquet",
        test="<results>/corpus/test.parquet",
    log:
        "<logs>/split.log",
    benchmark:
        "<benchmarks>/split.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=options(settings.split),
    message:
        "Hold out the test split"
    shell:
        "scaling-laws split {input.documents} --train {output.train} --test {output.test}"
        " {params.options} &> {log}"


rule evaluation_corpus:
    input:
        code=sources("corpus.sources"),
        source=get_source,
        train="<results>/corpus/train.parquet",
    output:
        documents="<results>/corpora/{corpus}.parquet",
        rejected="<results>/corpora/{corpus}.rejected.parquet",
    log:
        "<logs>/corpora/{corpus}.log",
    benchmark:
        "<benchmarks>/corpora/{corpus}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        format=get_format,
        language=settings.extract.language,
        options=options(settings.decontaminate),
    message:
        "Read the corpus {wildcards.corpus}; progress in {log}"
    shell:
        "scaling-laws corpus {wildcards.corpus} --source {input.source} --format {params.format}"
        " --train {input.train} --output {output.documents} --rejected {output.rejected}"
        " --language {params.language} --workers {threads} {params.options} &> {log}"
