"""The benchmark of model families on one flexible molecule: a client of the other commands.

`command` has the function, `study` the order of the stages. A stage is a function of the job that
does the remaining work and returns the rows of its JSON file (`results.benchmark_rows`). Stages
call other commands (`calls`), each in a run folder of its own, so that a killed stage is resumed.
`trainings` runs them in parallel; `job` has the options and the names of all files, `record` keeps
finished rows.
"""
