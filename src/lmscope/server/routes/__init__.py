"""The addresses of the server; each one asks a view."""
