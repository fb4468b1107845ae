"""What a user writes: tasks with their parts, hardware profiles, and what the names in them stand for."""
