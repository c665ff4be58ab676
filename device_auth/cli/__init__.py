"""The verbs of the command line, a file each; the only place that exits."""
