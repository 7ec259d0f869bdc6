"""Starting, changing and draining the streaming job."""
