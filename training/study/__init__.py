"""The textbook experiments on recurrent networks, run on the package's own parts."""
