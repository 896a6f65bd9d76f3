"""The work of the commands: options and objects go in, a result comes out.

A task keeps what it does in the `Store` that it is handed, and knows nothing of files, of the
command line and of reports.
"""
