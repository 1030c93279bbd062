"""The processes of a command: ranks of torchrun, workers, and how they are told to stop."""
