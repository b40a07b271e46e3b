"""Data that travels between the rooms: tracklets and their samples."""
