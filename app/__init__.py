"""Applications: command line (`cli`), HTML pages (`html`), MCP server (`mcp`), `adapters`."""
