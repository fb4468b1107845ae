"""Sources of joules (counters and models) against one another over the same windows, and the cost of metering."""
