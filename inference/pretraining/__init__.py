"""How the small model that ships with the repository is made: its world, its documents, its training and its tests."""
