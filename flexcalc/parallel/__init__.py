"""Processes: everything that runs in another process than the one that was started.

`process_pool` runs tasks in processes of this machine, `dask` on Dask, whose workers may be the
jobs of a `job_queue`; `workers` chooses between the two by the options of a command. `batches`
shares one batch of a potential among processes. `processes` starts and ends them, and `failures`
is what travels back where a task has no result.
"""
