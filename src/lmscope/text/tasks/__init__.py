"""Task generators and few-shot tasks."""
