"""How results show themselves: key figures, drawings and pictures, in pages and in notebooks."""
