"""What an erasure did, measured by the judge: what is gone, what was kept, what was hurt."""
