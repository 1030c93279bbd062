"""Drives mapped frame by frame, alone and with a memory."""
