"""User input: tasks, hardware profiles, and the registries that resolve the names in them."""
