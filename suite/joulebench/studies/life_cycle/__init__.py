"""Where a project's joules go: data, experimentation, training, and inference by its volume."""
