"""Stand-ins that ship with the product: a drawn line, an engine that knows its truth, a device without a device."""
