"""Sparse dictionaries: SAEs and transcoders, their training objective and their health."""
