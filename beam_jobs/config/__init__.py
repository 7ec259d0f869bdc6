"""What a job is told: its options, and whether what they name is there."""
