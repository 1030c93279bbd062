"""Timings of the fast paths (`fast_paths`), and what stored targets lose (`targets`)."""
