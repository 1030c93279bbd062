"""Comparison with arrays that the released code wrote."""
