# The byte-pair encoding, trained on the training split alone, and the token file of each corpus.
# Needs <results>/corpus and <results>/corpora; gives <results>/tokens.


rule tokenizer:
    input:
        code=sources("tokens.tokenizer"),
        train="<results>/corpus/train.parquet",
    output:
        "<results>/tokens/tokenizer.json",
    log:
        "<logs>/tokenizer.log",
    benchmark:
        "<benchmarks>/tokenizer.tsv"
    conda:
        "../../envs/text.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        options=options(settings.tokenizer),
    message:
        "Train the byte-pair encoding"
    shell:
        "RAYON_NUM_THREADS={threads} scaling-laws tokenizer {input.train} --output {output}"
        " {params.options} &> {log}"


rule encode:
    input:
        code=sources("tokens.encode"),
        documents=get_documents,
        tokenizer="<results>/tokens/tokenizer.json",
    output:
        tokens="<results>/tokens/{corpus}.bin",
        summary="<results>/tokens/{corpus}.json",
        documents="<results>/tokens/{corpus}.documents.parquet",
    log:
        "<logs>/encode/{corpus}.log",
    benchmark:
        "<benchmarks>/encode/{corpus}.tsv"
    conda:
        "../../envs/text.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    message:
        "Encode {wildcards.corpus}"
    shell:
        "RAYON_NUM_THREADS={threads} scaling-laws encode {input.documents}"
        " --tokenizer-file {input.tokenizer} --output {output.tokens}"
        " --summary {output.summary} --documents {output.documents} &> {log}"
