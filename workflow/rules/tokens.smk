# The byte-pair encoding, trained on the training split alone, and the token file of each corpus.
# Needs <results>/corpus and <results>/corpora; gives <results>/tokens.


rule tokenizer:
    input:
        code=sources("tokens.tokenizer"),
        train="<results>/corpus/train.parquet",
        file=get_tokenizer_file,
    output:
        tokenizer="<results>/tokens/tokenizer.json",
        lineage="<results>/tokens/lineage/tokenizer.json",
    log:
        "<logs>/tokenizer.log",
    benchmark:
        "<benchmarks>/tokenizer.tsv"
    cache: workflow.enable_cache
    conda:
        "../../envs/text.yaml"
    threads: 2
    resources:
        mem_mb=raised(8000),
        runtime=raised(240),
    params:
        file=given("--file", "file"),
        options=options(settings.tokenizer, leave_out={"file"}),
    message:
        "Train the byte-pair encoding"
    shell:
        "RAYON_NUM_THREADS={threads} scaling-laws tokenizer {input.train}"
        " --output {output.tokenizer}"
        " {params.file} {params.options} --lineage {output.lineage} --rule tokenizer &> {log}"


rule encode:
    input:
        code=sources("tokens.encode"),
        documents=get_documents,
        tokenizer="<results>/tokens/tokenizer.json",
    output:
        tokens="<results>/tokens/{corpus}.bin",
        summary="<results>/tokens/{corpus}.json",
        documents="<results>/tokens/{corpus}.documents.parquet",
        lineage="<results>/tokens/lineage/{corpus}.json",
    log:
        "<logs>/encode/{corpus}.log",
    benchmark:
        "<benchmarks>/encode/{corpus}.tsv"
    cache: workflow.enable_cache
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(720),
    params:
        corpus=get_corpus,  # or the cache would take one corpus for another
        options=options(settings.tokenizer, only={"end_of_text"}),
    message:
        "Encode {wildcards.corpus}"
    shell:
        "RAYON_NUM_THREADS={threads} scaling-laws encode {input.documents}"
        " --tokenizer-file {input.tokenizer} --output {output.tokens}"
        " --summary {output.summary} --documents {output.documents}"
        " {params.options} --lineage {output.lineage} --rule encode &> {log}"
