"""The vocabulary of the operator: services, messages, and which one is in force."""
