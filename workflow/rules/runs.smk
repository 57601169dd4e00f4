# The runs of all studies: plan, train, evaluate, gather.
# Needs <results>/tokens; gives <results>/plan, <results>/runs and <results>/tables.


rule configuration:
    input:
        code=sources("config"),
    output:
        config="<results>/config.yaml",
        lineage="<results>/lineage/configuration.json",
    log:
        "<logs>/configuration.log",
    benchmark:
        "<benchmarks>/configuration.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(500),
        runtime=raised(5),
    params:
        settings=get_settings,
    message:
        "Write the resolved configuration"
    shell:
        "scaling-laws resolve --settings {params.settings:q} --output {output.config}"
        " --lineage {output.lineage} --rule configuration &> {log}"


rule plan_study:
    input:
        code=sources("studies.plan"),
    output:
        table="<results>/plan/{study}.tsv",
        lineage="<results>/plan/lineage/{study}.json",
    log:
        "<logs>/plan/{study}.log",
    benchmark:
        "<benchmarks>/plan/{study}.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(500),
        runtime=raised(5),
    params:
        settings=get_plan_settings,
    message:
        "List the runs of the study {wildcards.study}"
    shell:
        "scaling-laws plan --settings {params.settings:q} --output {output.table}"
        " --lineage {output.lineage} --rule plan_study &> {log}"


rule plan:
    input:
        code=sources("studies.plan"),
        templates=[
            "src/scaling_laws/studies/plan.html.jinja",
            "src/scaling_laws/page.css.jinja",
            "src/scaling_laws/sortable.js.jinja",
        ],
    output:
        table="<results>/plan/runs.tsv",
        page="<results>/plan/plan.html",
        lineage="<results>/plan/lineage/runs.json",
    log:
        "<logs>/plan/all.log",
    benchmark:
        "<benchmarks>/plan/all.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(500),
        runtime=raised(5),
    params:
        settings=get_plan_settings,
    message:
        "List all runs"
    shell:
        "scaling-laws plan --settings {params.settings:q} --output {output.table}"
        " --page {output.page} --lineage {output.lineage} --rule plan &> {log}"


rule train:
    input:
        # No code: an edit must not throw away days of training. The spec holds TRAINING_VERSION,
        # which is raised when results would change.
        tokens="<results>/tokens/train.bin",
        train=multiext("<results>/tokens/train", ".json", ".documents.parquet"),
        test_tokens="<results>/tokens/test.bin",
        test=multiext("<results>/tokens/test", ".json", ".documents.parquet"),
    output:
        curve="<results>/runs/{run}/curve.parquet",
        model="<results>/runs/{run}/model.safetensors",
        run="<results>/runs/{run}/run.json",
        snapshots=directory("<results>/runs/{run}/snapshots"),
        lineage="<results>/runs/{run}/lineage/train.json",
    log:
        "<logs>/train/{run}.log",
    benchmark:
        "<benchmarks>/train/{run}.tsv"
    cache: workflow.enable_cache
    priority: get_training_cost
    group:
        get_group
    conda:
        "../../envs/train.yaml"
    threads: settings.training.threads
    resources:
        gpu=get_gpus,
        gpu_slots=get_gpu_slots,  # the profile says how many this machine has
        cpus_per_gpu=get_cpus_per_gpu,
        mem_mb=get_training_memory,
        runtime=get_training_minutes,
        # Else a scheduler takes the GPUs of a run from any machines that have some to spare.
        nodes=get_nodes,
        # On several machines it starts a task on each: `mpi` is the executors' word for it.
        tasks=get_tasks,
        tasks_per_gpu=get_tasks_per_gpu,
        mpi=get_launcher,
    params:
        spec=get_spec,
        results=get_results,
        start=get_processes,
        options=get_training_options,
    message:
        "Train {wildcards.run}; progress in {log}"
    shell:
        "{params.start} train --spec {params.spec:q}"
        " --tokens {input.tokens} --test {input.test_tokens} --curve {output.curve}"
        " --model {output.model} --run {output.run} --snapshots {output.snapshots}"
        # Not an output, which Snakemake would remove before the rerun that goes on from there.
        " --checkpoints {params.results}/runs/{wildcards.run}/checkpoints"
        " {params.options} --lineage {output.lineage} --rule train &> {log}"


rule basis:
    input:
        code=sources("evaluation.losses", "evaluation.basis"),
        tokens=expand("<results>/tokens/{name}.bin", name=EVALUATION_CORPORA),
        facts=expand(
            "<results>/tokens/{name}{ending}",
            name=EVALUATION_CORPORA,
            ending=[".json", ".documents.parquet"],
        ),
    output:
        basis="<results>/tokens/basis.json",
        lineage="<results>/tokens/lineage/basis.json",
    log:
        "<logs>/basis.log",
    benchmark:
        "<benchmarks>/basis.tsv"
    priority: FIRST  # else each run would be trained before one is evaluated
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        code=given("--code", "code"),
    message:
        "List what all runs are evaluated on"
    shell:
        "scaling-laws basis {input.tokens} {params.code} --output {output.basis}"
        " --lineage {output.lineage} --rule basis &> {log}"


rule evaluate:
    input:
        # For the code and all token files: with thousands of runs each name here costs seconds.
        basis="<results>/tokens/basis.json",
        run="<results>/runs/{run}/run.json",
        model="<results>/runs/{run}/model.safetensors",
        snapshots="<results>/runs/{run}/snapshots",
    output:
        losses="<results>/runs/{run}/evaluation.parquet",
        positions="<results>/runs/{run}/positions.parquet",
        lineage="<results>/runs/{run}/lineage/evaluate.json",
    log:
        "<logs>/evaluate/{run}.log",
    benchmark:
        "<benchmarks>/evaluate/{run}.tsv"
    priority: get_training_cost
    group:
        get_group
    conda:
        "../../envs/train.yaml"
    threads: settings.training.threads
    resources:
        gpu=get_evaluation_gpus,
        gpu_slots=get_evaluation_slots,
        mem_mb=get_evaluation_memory,
        runtime=get_evaluation_minutes,
    params:
        tokens=get_evaluation_corpora,
        start=get_evaluation,
        device=get_evaluation_device,
        options=options(settings.evaluation),
    message:
        "Evaluate {wildcards.run}; progress in {log}"
    shell:
        "{params.start} evaluate {params.tokens} --run {input.run} --model {input.model}"
        " --snapshots {input.snapshots} --losses {output.losses}"
        " --positions {output.positions} --threads {threads} --device {params.device}"
        " {params.options} --lineage {output.lineage} --rule evaluate &> {log}"


rule collect_study:
    input:
        code=sources("studies.collect"),
        plan="<results>/plan/{study}.tsv",
        runs=get_runs,
    output:
        tables=expand("<results>/tables/{{study}}/{table}.parquet", table=TABLES),
        lineage="<results>/tables/{study}/lineage/collect.json",
    log:
        "<logs>/collect/{study}.log",
    benchmark:
        "<benchmarks>/collect/{study}.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        results=get_results,
    message:
        "Gather the runs of the study {wildcards.study}"
    shell:
        "scaling-laws collect {input.plan} --runs {params.results}/runs"
        " --tables {params.results}/tables/{wildcards.study}"
        " --lineage {output.lineage} --rule collect_study &> {log}"


rule collect:
    input:
        code=sources("studies.collect"),
        plan="<results>/plan/runs.tsv",
        studies=expand(
            "<results>/tables/{study}/{table}.parquet", study=STUDIES, table=TABLES
        ),
    output:
        tables=expand("<results>/tables/{table}.parquet", table=TABLES),
        lineage="<results>/tables/lineage/collect.json",
    log:
        "<logs>/collect/all.log",
    benchmark:
        "<benchmarks>/collect/all.tsv"
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=raised(2000),
        runtime=raised(15),
    params:
        results=get_results,
        studies=get_table_folders,
    message:
        "Gather all runs"
    shell:
        "scaling-laws gather {input.plan} {params.studies}"
        " --tables {params.results}/tables --lineage {output.lineage} --rule collect &> {log}"
