"""The web app: what runs and atlases leave on disk as pages, and a model that answers."""
