"""The web process: what stations say over MQTT → history on disk and state in memory → pages for people.

One thread hears the broker (`collector.py`), one writes the history (`history.py`), the web server reads both
(`app.py`, `serving.py`). A browser gets pages only: no credential of the broker, and no text that was not escaped.
"""
