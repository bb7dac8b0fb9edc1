"""Roles that decide what to search for: rewriter, planner, assessor, query writer, reasoner."""
