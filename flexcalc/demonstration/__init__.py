"""The main job on glycine, by the commands: `flexcalc demo`.

As a benchmark, it stands above the commands, since it does what they do, each in a folder of its
own.
"""
