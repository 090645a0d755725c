"""What a station may be told, over MQTT and from the device's shell."""
