"""A run on disk: its request, folder, checkpoints; its recording and replay."""
