"""The words of the operator: services, messages, and which are in force."""
