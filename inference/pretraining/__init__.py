"""The making of the small model that ships with the repository: its world, documents, training and evaluation."""
