"""What a user writes: tasks, parameters, objectives, stages, conditions, hardware profiles, and what names stand for."""
