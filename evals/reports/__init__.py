"""Reports: mean scores, cost and outcomes of an evaluation run."""
