"""The core's own components, registered by the door that everybody uses."""
