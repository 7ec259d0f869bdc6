"""Google Cloud on one machine: stand-ins that serve Google's protocols to Google's own clients."""
