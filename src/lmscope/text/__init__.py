"""The text that models read: corpora, contexts, chat templates, tasks."""
