"""The MCP server: search, fetch and ask as tools of other programs' models (needs the extra mcp).

`tool_server` makes the server over an open `KnowledgeBase`, `mcp_transports` serves it over stdio
or HTTP. Nothing here is imported before `hoptrail mcp` runs.
"""
