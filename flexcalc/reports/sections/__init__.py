"""One module a command: what the files of its run folder say, as HTML."""
