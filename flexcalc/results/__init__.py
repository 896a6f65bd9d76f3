"""Results of tasks: frozen dataclasses of numbers and arrays, one per command."""
