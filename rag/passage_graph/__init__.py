"""The passage graph searched: guided hops, PageRank, neighbourhoods, entity profiles."""
