"""Dictionaries in the on-disk formats of other tools, read and written with their exact conventions."""
