"""Google Cloud on one machine: stand-ins that speak Google's protocols to Google's own clients."""
