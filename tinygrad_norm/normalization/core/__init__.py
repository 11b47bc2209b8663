"""What normalizations share: statistics, running statistics, rows."""
