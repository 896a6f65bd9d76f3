"""What tasks return: frozen dataclasses of numbers and arrays, one a command."""
