"""The benchmark of model families on one flexible molecule: a client of the other commands.

`command` is its function, `study` the order of its stages. A stage is a function of the job that
does what is not done yet and returns the rows of its JSON file. What another command does, a stage
has it do (`calls`), in a folder of its own; so every stage can be killed and resumed. `trainings`
runs those side by side; `job` says what lies where, `record` keeps what is finished.
"""
