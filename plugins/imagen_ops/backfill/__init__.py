"""One night of prompt files: planned, held to a budget, launched, waited for, reconciled."""
