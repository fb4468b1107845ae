"""The loop of a run: plan, session, trials, proposals, scheduling, stopping, meter check, scoring."""
