"""The commands, as functions of Python and of the command line; each file is one of them."""
