"""Much of everything: long, many jobs, many queues, many processes (reliability #33 and part 9 of its issue)."""
