"""Who is told that something happened, and how."""
