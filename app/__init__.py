"""Applications: the command line (`cli`), HTML pages (`html`) and the MCP server (`mcp`)."""
