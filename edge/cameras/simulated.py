"""Placeholder."""
class SimulatedCamera:
    """Placeholder."""
