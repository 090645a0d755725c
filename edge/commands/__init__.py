"""Commands to a station, over MQTT and from the device's shell."""
