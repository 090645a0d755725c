"""Backups: what a station or a dashboard remembers, in one file with a manifest, and back on another device."""
