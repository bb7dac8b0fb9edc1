"""Tests against a real vLLM server (see build.py); a package, so that its files can share names."""
