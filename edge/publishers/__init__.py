"""Ways to a broker, under `edge.protocols.Publisher`: MQTT 5, and one in memory for demos and tests."""
