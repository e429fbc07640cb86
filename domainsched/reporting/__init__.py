"""What is said and shown: to people, pipes, logs and monitors."""
