"""When each query is polled, and what one poll does."""
