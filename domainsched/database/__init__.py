"""The rooms that speak SQL: the connection, the table, the queue, what operators ask."""
