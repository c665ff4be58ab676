"""Linking and refreshing: values in, values out. Nothing here knows a clock, a socket, a file or a thread."""
