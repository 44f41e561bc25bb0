"""From settings to a student: the runtime's command, and a whole distillation in one call."""
