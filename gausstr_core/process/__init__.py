"""What commands and the process of the method have in common: options, errors, memory, threads."""
