"""What the commands do: options with the objects that they name go in, a result comes out.

A task keeps what it does in the `Store` that it is handed, and knows nothing of files, of the
command line and of reports.
"""
