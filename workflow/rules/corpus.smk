# From link dumps to a training and a test split, and the other corpora.
# Needs the dumps that links.dumps names; gives <results>/corpus and <results>/corpora.


rule links:
    input:
        code=sources("corpus.links.links"),
        domains=multiext("src/scaling_laws/corpus/links/", "media.txt", "blocked.txt"),
        dump=get_dump,
        blocklist=get_blocklist,
    output:
        submissions="<results>/links/dumps/{dump}.parquet",
        rejected="<results>/links/dumps/{dump}.rejected.parquet",
        lineage="<results>/links/dumps/lineage/{dump}.json",
    log:
        "<logs>/links/{dump}.log",
    benchmark:
        "<benchmarks>/links/{dump}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(3000),  # a dump is decompressed with a window of 2 GiB
        runtime=raised(720),
    params:
        blocklist=given("--blocklist", "blocklist"),
        options=options(
            settings.links,
            only={"first_day", "last_day", "over_18", "shards", "salvage"},
        ),
    message:
        "Select links of {wildcards.dump}; progress in {log}"
    shell:
        "scaling-laws links {input.dump:q} --output {output.submissions}"
        " --rejected {output.rejected} {params.blocklist} {params.options}"
        " --lineage {output.lineage} --rule links &> {log}"


rule merge_links:
    input:
        code=sources("corpus.links.links"),
        submissions=expand("<results>/links/dumps/{dump}.parquet", dump=DUMPS),
        forgotten=get_forgotten_file,
    output:
        links="<results>/links/shards/{shard}.parquet",
        rejected="<results>/links/shards/{shard}.rejected.parquet",
        lineage="<results>/links/shards/lineage/{shard}.json",
    log:
        "<logs>/merge_links/{shard}.log",
    benchmark:
        "<benchmarks>/merge_links/{shard}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(4000),
        runtime=raised(60),
    params:
        forgotten=get_forgotten,
        forgotten_list=get_forgotten_list,
        options=options(settings.links, only={"minimum_score", "score_rule"}),
    message:
        "Merge the links of shard {wildcards.shard}"
    shell:
        "scaling-laws merge-links {input.submissions} --shard {wildcards.shard}"
        " --output {output.links} --rejected {output.rejected} {params.options}"
        " --forgotten {params.forgotten_list}"
        " --lineage {output.lineage} --rule merge_links &> {log}"


rule gather_links:
    input:
        code=sources("tables"),
        links=expand("<results>/links/shards/{shard}.parquet", shard=SHARDS),
        rejected=[
            *expand("<results>/links/dumps/{dump}.rejected.parquet", dump=DUMPS),
            *expand("<results>/links/shards/{shard}.rejected.parquet", shard=SHARDS),
        ],
    output:
        links="<results>/links/links.parquet",
        rejected="<results>/links/rejected.parquet",
        of_links="<results>/links/lineage/links.json",
        of_rejected="<results>/links/lineage/rejected.json",
    log:
        "<logs>/gather_links.log",
    benchmark:
        "<benchmarks>/gather_links.tsv"
    priority: 1  # it tells why a corpus came out small, also where later jobs fail
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(240),
    message:
        "Gather the links and the rejected submissions of all shards"
    shell:
        "(scaling-laws concat {input.links} --output {output.links}"
        " --lineage {output.of_links} --rule gather_links &&"
        " scaling-laws concat {input.rejected} --output {output.rejected}"
        " --lineage {output.of_rejected} --rule gather_links) &> {log}"


rule index_archive:
    input:
        code=sources("corpus.crawl.archives"),
        warc=get_archive,
    output:
        index="<results>/crawl/archives/{archive}.parquet",
        lineage="<results>/crawl/archives/lineage/{archive}.json",
    log:
        "<logs>/index_archive/{archive}.log",
    benchmark:
        "<benchmarks>/index_archive/{archive}.tsv"
    conda:
        "../../envs/crawl.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(240),
    message:
        "Index the pages of {wildcards.archive}"
    shell:
        "scaling-laws index-archive {input.warc:q} --output {output.index}"
        " --lineage {output.lineage} --rule index_archive &> {log}"


rule crawl:
    input:
        code=sources("corpus.crawl.crawl"),
        links="<results>/links/shards/{shard}.parquet",
        site=get_site,
        archives=expand("<results>/crawl/archives/{archive}.parquet", archive=ARCHIVES),
    output:
        warc="<results>/crawl/{shard}.warc.gz",
        outcomes="<results>/crawl/{shard}.parquet",
        lineage="<results>/crawl/lineage/{shard}.json",
    log:
        "<logs>/crawl/{shard}.log",
    benchmark:
        "<benchmarks>/crawl/{shard}.tsv"
    cache: workflow.enable_cache
    conda:
        "../../envs/crawl.yaml"
    resources:
        crawls=1,  # the profile says how many at a time, on a cluster too
        mem_mb=raised(2000),
        runtime=raised(1440),
    params:
        shard=get_shard,  # or the cache would take one shard for another
        # What the shards share, so that they are polite together; it holds no results. Nor do the
        # hidden files, from which a crawl that is run again takes the pages that it has.
        hosts=f"{RESULTS}/crawl/hosts.lock",
        site=given("--site", "site"),
        archives=given("--archives", "archives"),
        forgotten=get_forgotten,
        forgotten_list=get_forgotten_list,
        options=options(settings.crawl, leave_out={"archives"}),
    message:
        "Crawl shard {wildcards.shard}; progress in {log}"
    shell:
        "scaling-laws crawl {input.links} --warc {output.warc} --outcomes {output.outcomes}"
        " --hosts {params.hosts} {params.site} {params.archives} {params.options}"
        " --forgotten {params.forgotten_list} --lineage {output.lineage} --rule crawl &> {log}"


rule outcomes:
    input:
        code=sources("corpus.crawl.outcomes"),
        outcomes=expand("<results>/crawl/{shard}.parquet", shard=SHARDS),
    output:
        reasons="<results>/crawl/outcomes.csv",
        hosts="<results>/crawl/hosts.csv",
        lineage="<results>/crawl/lineage/outcomes.json",
    log:
        "<logs>/outcomes.log",
    benchmark:
        "<benchmarks>/outcomes.tsv"
    priority: 1  # as of gather_links
    conda:
        "../../envs/crawl.yaml"
    resources:
        mem_mb=raised(4000),
        runtime=raised(60),
    message:
        "Count what became of the links, by reason and by host"
    shell:
        "scaling-laws outcomes {input.outcomes} --reasons {output.reasons}"
        " --hosts {output.hosts} --lineage {output.lineage} --rule outcomes &> {log}"


rule extract:
    input:
        code=sources("corpus.text.extract"),
        warc="<results>/crawl/{shard}.warc.gz",
    output:
        documents="<results>/documents/{shard}.parquet",
        rejected="<results>/documents/{shard}.rejected.parquet",
        lineage="<results>/documents/lineage/{shard}.json",
    log:
        "<logs>/extract/{shard}.log",
    benchmark:
        "<benchmarks>/extract/{shard}.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 2
    resources:
        mem_mb=raised(4000),
        runtime=raised(240),
    params:
        options=options(settings.extract),
    message:
        "Extract the text of shard {wildcards.shard}; progress in {log}"
    shell:
        "scaling-laws extract {input.warc} --output {output.documents}"
        " --rejected {output.rejected} --workers {threads} {params.options}"
        " --lineage {output.lineage} --rule extract &> {log}"


rule signatures:
    input:
        code=sources("corpus.dedup.minhash"),
        documents="<results>/documents/{shard}.parquet",
        links="<results>/links/shards/{shard}.parquet",
    output:
        signatures="<results>/dedup/signatures/{shard}.parquet",
        lineage="<results>/dedup/signatures/lineage/{shard}.json",
    log:
        "<logs>/signatures/{shard}.log",
    benchmark:
        "<benchmarks>/signatures/{shard}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(240),
    params:
        options=options(settings.dedup, leave_out={"parts"}),
    message:
        "Compute the MinHash signatures of shard {wildcards.shard}"
    shell:
        "scaling-laws signatures {input.documents} --links {input.links}"
        " --output {output.signatures}"
        " {params.options} --lineage {output.lineage} --rule signatures &> {log}"


rule buckets:
    input:
        code=sources("corpus.dedup.minhash"),
        signatures=expand("<results>/dedup/signatures/{shard}.parquet", shard=SHARDS),
    output:
        pairs="<results>/dedup/pairs/{part}.parquet",
        lineage="<results>/dedup/pairs/lineage/{part}.json",
    log:
        "<logs>/buckets/{part}.log",
    benchmark:
        "<benchmarks>/buckets/{part}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(8000),
        runtime=raised(240),
    params:
        parts=len(PARTS),
    message:
        "Find pairs of documents that may be alike, part {wildcards.part}"
    shell:
        "scaling-laws buckets {input.signatures} --part {wildcards.part} --parts {params.parts}"
        " --output {output.pairs} --lineage {output.lineage} --rule buckets &> {log}"


rule clusters:
    input:
        code=sources("corpus.dedup.clusters"),
        documents=expand("<results>/documents/{shard}.parquet", shard=SHARDS),
        signatures=expand("<results>/dedup/signatures/{shard}.parquet", shard=SHARDS),
        pairs=expand("<results>/dedup/pairs/{part}.parquet", part=PARTS),
    output:
        kept="<results>/dedup/kept.parquet",
        duplicates="<results>/corpus/duplicates.parquet",
        lineage="<results>/dedup/lineage/clusters.json",
    log:
        "<logs>/clusters.log",
    benchmark:
        "<benchmarks>/clusters.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(8000),
        runtime=raised(720),
    params:
        signatures=given("--signatures", "signatures"),
        pairs=given("--pairs", "pairs"),
        options=options(settings.dedup, only={"threshold", "shingle_words"}),
        split=options(settings.split, only={"test_fraction", "test_tokens"}),
        seed=settings.split.seed,
    message:
        "Verify the pairs, and choose one document of each cluster"
    shell:
        "scaling-laws clusters {input.documents} {params.signatures} {params.pairs}"
        " --output {output.kept} --duplicates {output.duplicates}"
        " {params.options} {params.split} --split-seed {params.seed}"
        " --lineage {output.lineage} --rule clusters &> {log}"


rule dedup:
    input:
        code=sources("corpus.dedup.dedup"),
        documents=expand("<results>/documents/{shard}.parquet", shard=SHARDS),
        kept="<results>/dedup/kept.parquet",
    output:
        documents="<results>/corpus/documents.parquet",
        lineage="<results>/corpus/lineage/dedup.json",
    log:
        "<logs>/dedup.log",
    benchmark:
        "<benchmarks>/dedup.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(4000),
        runtime=raised(720),
    message:
        "Leave the duplicates out"
    shell:
        "scaling-laws dedup {input.documents} --kept {input.kept} --output {output.documents}"
        " --lineage {output.lineage} --rule dedup &> {log}"


rule split:
    input:
        code=sources("corpus.dedup.split"),
        documents="<results>/corpus/documents.parquet",
    output:
        train="<results>/corpus/train.parquet",
        test="<results>/corpus/test.parquet",
        leaks="<results>/corpus/leaks.parquet",
        report="<results>/corpus/split.json",
        lineage="<results>/corpus/lineage/split.json",
    log:
        "<logs>/split.log",
    benchmark:
        "<benchmarks>/split.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=get_split_memory,
        runtime=raised(720),
    params:
        dedup=options(settings.dedup, only={"threshold", "shingle_words"}),
        decontaminate=options(settings.decontaminate, only={"ngram_words"}),
    message:
        "Hold out the test split, and check it for leaks"
    shell:
        "scaling-laws split {input.documents} --train {output.train} --test {output.test}"
        " --leaks {output.leaks} --report {output.report} --workers {threads}"
        " {params.dedup} {params.decontaminate} --lineage {output.lineage} --rule split &> {log}"


rule evaluation_corpus:
    input:
        code=sources("corpus.text.sources"),
        source=get_source,
        train="<results>/corpus/train.parquet",
        forgotten=get_forgotten_file_of_corpus,
    output:
        documents="<results>/corpora/{corpus}.parquet",
        rejected="<results>/corpora/{corpus}.rejected.parquet",
        lineage="<results>/corpora/lineage/{corpus}.json",
    log:
        "<logs>/corpora/{corpus}.log",
    benchmark:
        "<benchmarks>/corpora/{corpus}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(4000),
        runtime=raised(240),
    params:
        forgotten=get_forgotten_in_corpus,
        forgotten_list=get_forgotten_list,
        corpus=get_corpus_options,
        language=settings.extract.language,
        options=options(settings.decontaminate),
    message:
        "Read the corpus {wildcards.corpus}; progress in {log}"
    shell:
        "scaling-laws corpus {wildcards.corpus} --source {input.source:q} {params.corpus}"
        " --train {input.train} --output {output.documents} --rejected {output.rejected}"
        " --language {params.language} --workers {threads} {params.options}"
        " --forgotten {params.forgotten_list}"
        " --lineage {output.lineage} --rule evaluation_corpus &> {log}"
