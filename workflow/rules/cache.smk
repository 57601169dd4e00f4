# What workflows share with --cache: the pages of a crawl, the tokens of a corpus, and trained runs,
# whose rules say so by `cache`. Included last, for it changes them.
#
# The key of a job is of its shell command as it stands here, its params, the content of what no job
# makes, such as code, and the same of all jobs that it rests on. Wildcards, threads and paths are no
# part of it: what tells two jobs of a cached rule apart must be a param.

if workflow.enable_cache:
    for shared in workflow.rules:
        if shared.cache.output:
            # Snakemake takes a benchmark for a promise to measure, which what comes from the cache
            # cannot keep. The manifests have the times all the same.
            shared._benchmark = None
