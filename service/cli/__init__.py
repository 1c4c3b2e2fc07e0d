"""The command line: one file a command, put together in `service.__main__`."""
