"""The studied language model: its sites, its families, reading and editing."""
