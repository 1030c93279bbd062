"""What stands on a street, drawn from a seed."""
